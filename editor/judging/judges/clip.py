"""The judge for CLIP models of transformers, OpenCLIP's converted ones included."""

from typing import ClassVar

from torch import Tensor

from editor.judging.judges.transformers_judge import TransformersJudge


class ClipJudge(TransformersJudge):
    """A ``CLIPModel``. Its text encoder is causal, so padding after the end of a text has no effect."""

    model_type: ClassVar[str] = "clip"
    model_class: ClassVar[str] = "CLIPModel"
    padding: ClassVar[str] = "longest"

    def text_outputs(self, ids: Tensor) -> Tensor:
        """Return the projected states of the last tokens; see `TransformersJudge.text_outputs`."""
        outputs: Tensor = self.model.text_projection(self.model.text_model(input_ids=ids).pooler_output)
        return outputs

    def image_outputs(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the projected states of the class token; see `TransformersJudge.image_outputs`."""
        outputs: Tensor = self.model.visual_projection(super().image_outputs(inputs))
        return outputs

    def patches(self, states: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        """Leave out the class token; see `TransformersJudge.patches`."""
        return states[:, 1:]
