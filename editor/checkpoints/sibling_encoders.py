"""Which text encoders belong together in a single file: refuse contradictory ones, and find those that are missing."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

from editor.checkpoints.key_mapping import Component, EncoderPrefix, Family
from editor.checkpoints.unedited_encoders import UneditedEncoder, absent_clip_encoder
from editor.errors import CheckpointError

ENCODER_ROOTS: dict[Family, dict[Component, str]] = {
    "sdxl": {"text_encoder": "conditioner.embedders.0.", "text_encoder_2": "conditioner.embedders.1."},
    "sd3": {"text_encoder": "text_encoders.clip_l.", "text_encoder_2": "text_encoders.clip_g."},
}
"""Families with two CLIP text encoders, and the prefix of each one's tensors."""
REFINER_PREFIX = "conditioner.embedders.0.model."
"""SDXL's refiner has one text encoder, the larger one, in the place of the smaller one."""


def check_distinct(path: Path, found: Sequence[EncoderPrefix]) -> None:
    """Raise CheckpointError if a file has two text encoders of one component, or those of two layouts."""
    for one, other in combinations(found, 2):
        if one.component == other.component or layout_root(one) != layout_root(other):
            raise CheckpointError(
                f"{path} contains text encoders of different models, under {one.prefix!r} and {other.prefix!r}; a pipeline "
                "reads only one of them.",
                field="model",
                remedy="Remove the tensors that your pipeline does not read, or use a diffusers folder.",
            )


def layout_root(site: EncoderPrefix) -> str:
    """Return the first part of an encoder's prefix, which is the same for all encoders of a layout."""
    return site.prefix.split(".")[0]


def absent_encoders(
    path: Path, family: Family, found: Sequence[EncoderPrefix], names: Iterable[str]
) -> tuple[UneditedEncoder, ...]:
    """Return the CLIP text encoders of a family that a file does not contain. They stay unedited.

    Raises:
        CheckpointError: the file contains such an encoder, in a layout that is not supported.
    """
    if [site.prefix for site in found] == [REFINER_PREFIX]:
        return ()
    missing = ENCODER_ROOTS.get(family, {}).keys() - {site.component for site in found}
    for component in sorted(missing):
        root = ENCODER_ROOTS[family][component]
        unread = next((name for name in names if name.startswith(root)), None)
        if unread is not None:
            raise CheckpointError(
                f"{path} contains a {component} in an unsupported layout: {unread}. It would stay unedited.",
                field="model",
                remedy="Use a diffusers folder, or the original single-file checkpoint.",
            )
    return tuple(absent_clip_encoder(component, family) for component in sorted(missing))
