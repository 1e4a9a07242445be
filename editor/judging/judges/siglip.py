"""The judges for SigLIP models of transformers. SigLIP 2 at a fixed resolution is of model type ``siglip``, too."""

from typing import ClassVar

from torch import Tensor

from editor.judging.judges.transformers_judge import TransformersJudge


class SiglipJudge(TransformersJudge):
    """A ``SiglipModel``. It was trained on lower-case texts that are padded to the full context length."""

    model_type: ClassVar[str] = "siglip"
    model_class: ClassVar[str] = "SiglipModel"
    padding: ClassVar[str] = "max_length"
    lowercase: ClassVar[bool] = True

    def text_outputs(self, ids: Tensor) -> Tensor:
        """Return the projected states of the last position; see `TransformersJudge.text_outputs`."""
        outputs: Tensor = self.model.text_model(input_ids=ids).pooler_output
        return outputs


class Siglip2Judge(SiglipJudge):
    """A ``Siglip2Model`` of variable resolution (NaFlex): images keep their aspect ratio."""

    model_type: ClassVar[str] = "siglip2"
    model_class: ClassVar[str] = "Siglip2Model"

    def patches(self, states: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        """Leave out the positions that pad the batch's largest image; see `TransformersJudge.patches`."""
        return states[:, : int(inputs["pixel_attention_mask"].sum(1).max())]
