"""The scale at which a text encoder carries an update: least squares of the observed difference on the expected update.

With the observed weight W, the original W_0 and the update U, s minimises ‖W - W_0 - s U‖. The published files give W_0 + U
(the delta) and U (the LoRA); without a LoRA the base model gives W_0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from editor.checkpoints import Checkpoint, open_checkpoint
from editor.checkpoints.tensor_reader import TensorFile
from editor.publishing.delta import delta_key, open_delta
from editor.publishing.filenames import DELTA
from editor.publishing.lora import LORA_PEFT

MAX_RESIDUAL = 0.2
"""Share of the observed difference that the update may leave unexplained. A cast to bf16 leaves up to 0.1."""
NEGLIGIBLE_DIFFERENCE = 0.01
"""Relative to the update: a smaller difference from the original is rounding."""


@dataclass(frozen=True)
class ExpectedUpdate:
    """A weight before the edit, and the edit's update of it, (out, in) float64."""

    original: Tensor
    update: Tensor


ExpectedUpdates = Mapping[tuple[str, str], ExpectedUpdate]
"""By component and canonical name."""


@dataclass(frozen=True)
class ScaleFit:
    """The least-squares scale of an update, over all tensors of a component."""

    scale: float
    residual: float
    """‖W - W_0 - s U‖ / ‖W - W_0‖."""

    @property
    def explains(self) -> bool:
        """Whether the update at this scale explains the difference from the original weights."""
        return self.scale > NEGLIGIBLE_DIFFERENCE and self.residual <= MAX_RESIDUAL


def read_updates(folder: Path, base: Path | None = None) -> dict[tuple[str, str], ExpectedUpdate]:
    """Read the updates of a published folder; none if it lacks the delta, or both the LoRA and the base model.

    Raises:
        CheckpointError: a file, or the base model, cannot be read.
        PublishingError: the delta is damaged.
    """
    if not (folder / DELTA).is_file():
        return {}
    header, _ = open_delta(folder / DELTA)
    delta = TensorFile(folder / DELTA)
    edited = {
        (original.component, original.name): delta.read(delta_key(file, stored)).double()
        for file, part in header.files.items()
        for stored, original in part.tensors.items()
    }
    if base is not None:
        return updates_from_base(edited, open_checkpoint(base))
    lora = folder / LORA_PEFT
    return updates_from_lora(edited, TensorFile(lora)) if lora.is_file() else {}


def updates_from_base(
    edited: Mapping[tuple[str, str], Tensor], base: Checkpoint
) -> dict[tuple[str, str], ExpectedUpdate]:
    """Subtract the base model's tensors from the edited ones."""
    originals = {key: base.component(key[0]).tensor(key[1]).double() for key in edited}
    return {key: ExpectedUpdate(originals[key], edited[key] - originals[key]) for key in edited}


def updates_from_lora(
    edited: Mapping[tuple[str, str], Tensor], lora: TensorFile
) -> dict[tuple[str, str], ExpectedUpdate]:
    """Multiply the LoRA's factors, and subtract the product from the edited tensors."""
    found = {}
    for (component, name), after in edited.items():
        module = f"{component}.{name.removesuffix('.weight')}"
        if f"{module}.lora_B.weight" in lora.layout.spans:
            up, down = (lora.read(f"{module}.lora_{side}.weight").double() for side in ("B", "A"))
            found[component, name] = ExpectedUpdate(after - up @ down, up @ down)
    return found


def fit_scale(expected: Sequence[ExpectedUpdate], observed: Sequence[Tensor | None]) -> ScaleFit | None:
    """Fit one scale to all tensors of a component. Return None if a tensor is absent or has another shape.

    Args:
        expected: the updates.
        observed: the weights of the deployment, in the same order, in any precision.
    """
    pairs = [(one, found.double().cpu()) for one, found in zip(expected, observed, strict=True) if found is not None]
    if not pairs or len(pairs) < len(expected) or any(one.update.shape != found.shape for one, found in pairs):
        return None
    difference = torch.cat([(found - one.original).flatten() for one, found in pairs])
    update = torch.cat([one.update.flatten() for one, _ in pairs])
    if difference.norm() <= NEGLIGIBLE_DIFFERENCE * update.norm():
        return ScaleFit(scale=0.0, residual=0.0)
    scale = float(difference @ update / (update @ update))
    return ScaleFit(scale, float((difference - scale * update).norm() / difference.norm()))
