"""Hold a pipeline against a report: the replaced tensors by their digests, and the canaries in text space.

A tensor's digest is proof, in any precision that weights are cast to. Where it is neither the edited tensor's nor the
base's (a fused LoRA, a merge), the canaries decide: how far each state has gone from where the base model had it to where
the edit puts it, and how far beside that line it lies.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from api_schemas.deployment import ComponentFound, Deployment, EditPresence, Identity, TensorFound
from api_schemas.report import AuditReport, CanaryRecord, TensorRecord
from editor.checkpoints import open_checkpoint
from editor.checkpoints.tensor_reader import DTYPES, tensor_digest
from editor.errors import CheckpointError, PublishingError
from editor.publishing.deployment.canaries import unpacked
from editor.publishing.deployment.encoder_readers import Reader, Running, Stored

TOLERANCE = 0.1
"""Of how far the edit moves a state. Casting to bfloat16 costs about 0.02, another edit moves it by 0.5 and more."""
ASIDE = 0.5
"""How far other removals in the same weights may push a state aside that has gone all of its way; twenty push it by 0.44."""
DETAILS: dict[EditPresence, str] = {
    "carries": "its prompts mean what the edit makes of them",
    "partly": "its prompts have gone a part of the way: a LoRA at another scale, or a merge with the base model",
    "base": "it is the base model's: the removal is not there",
    "other": "it is neither the edited encoder nor the base model's: another edit, or another model",
}


def check_deployment(pipeline: Any, report: AuditReport) -> Deployment:
    """Whether a pipeline carries the removal.

    Args:
        pipeline: a diffusers pipeline, or the path of a stored one (a folder in diffusers' layout, or one file).
        report: its ``tensors`` and ``canaries`` say what to look for.

    Raises:
        PublishingError: the report has nothing to look for, or withholds the prompts, or the pipeline lacks an encoder.
        CheckpointError: the stored pipeline can't be read.
    """
    components = list(dict.fromkeys(tensor.component for tensor in report.tensors))
    if not components:
        raise PublishingError("The report names no tensor.", field="report", remedy="Make it again with this version.")
    found = [component_found(name, reader_of(pipeline, name), report) for name in components]
    return Deployment(carried=together([one.carried for one in found]), components=found)


def reader_of(pipeline: Any, component: str) -> Reader:
    """A pipeline's text encoder. Raises PublishingError: it has none of that name."""
    if isinstance(pipeline, Path):
        return Stored(open_checkpoint(pipeline).encoder(component))
    module = getattr(pipeline, component, None)
    if module is None:
        raise PublishingError(f"The pipeline has no {component}.", field="pipeline", remedy="Is it of the same family?")
    return Running(module, getattr(pipeline, component.replace("text_encoder", "tokenizer")))


def component_found(component: str, reader: Reader, report: AuditReport) -> ComponentFound:
    """One text encoder."""
    tensors = [tensor_found(one, reader.tensor(one.name)) for one in report.tensors if one.component == component]
    asked = [one for one in report.canaries if one.component == component and one.prompt]
    way = way_of(reader, asked, tensors)
    carried = judged(tensors, way)
    return ComponentFound(
        component=component,
        carried=carried,
        tensors=tensors,
        canaries=len(asked) if way else 0,
        progress=round(float(way[0].median()), 4) if way else None,
        error=round(float(way[1].max()), 4) if way else None,
        detail=DETAILS[carried],
    )


def tensor_found(record: TensorRecord, tensor: Tensor | None) -> TensorFound:
    """What a tensor is, by its digest."""
    return TensorFound(name=record.name, identity=identity(record, tensor))


def identity(record: TensorRecord, tensor: Tensor | None) -> Identity:
    """In the precision that it has."""
    dtype = next((name for name, kind in DTYPES.items() if tensor is not None and kind == tensor.dtype), None)
    if tensor is None or dtype is None:
        return "unknown"
    digest = tensor_digest(tensor)
    if digest == record.edited.get(dtype):
        return "edited"
    return "base" if digest == record.base.get(dtype) else "other"


Way = tuple[Tensor, Tensor, Tensor, Tensor]
"""Of each canary, relative to how far the edit moves it: progress, and distances from the edited state, from the base's, and
from the line between them."""


def way_of(reader: Reader, asked: Sequence[CanaryRecord], tensors: Sequence[TensorFound]) -> Way | None:
    """:func:`progress_of`; None without canaries, or where an encoder lies alone, without its tokenizer, and digests tell."""
    told = {tensor.identity for tensor in tensors} in ({"edited"}, {"base"})
    try:
        return progress_of(reader, asked) if asked else None
    except CheckpointError:
        if told:
            return None
        raise


def progress_of(reader: Reader, asked: Sequence[CanaryRecord]) -> Way:
    """How far the canaries have gone from base to edit. Raises PublishingError: an encoder of another width."""
    states = reader.states([one.prompt or "" for one in asked])
    base, edited = (torch.stack([unpacked(text) for text in texts]) for texts in sides(asked))
    if states.shape != base.shape:
        raise PublishingError(
            f"The text encoder is {states.shape[1]} wide, the report's {base.shape[1]}.",
            field="pipeline",
            remedy="It belongs to another model.",
        )
    path = edited - base
    length = path.norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
    progress = ((states - base) * path).sum(1) / length.square()
    beside = states - base - progress[:, None] * path
    return (
        progress,
        (states - edited).norm(dim=1) / length,
        (states - base).norm(dim=1) / length,
        beside.norm(dim=1) / length,
    )


def sides(asked: Sequence[CanaryRecord]) -> tuple[list[str], list[str]]:
    """The base's states and the edit's."""
    return [one.base for one in asked], [one.edited for one in asked]


def judged(tensors: Sequence[TensorFound], way: Way | None) -> EditPresence:
    """Digests are proof where all agree, unless the canaries object: another part of the encoder may have changed."""
    identities = {tensor.identity for tensor in tensors}
    if way is None:
        return "carries" if identities == {"edited"} else "base" if identities == {"base"} else "other"
    progress, to_edited, to_base, beside = way
    more = "other" in identities and progress.median() >= 1 - TOLERANCE and to_edited.max() <= ASIDE
    if more or to_edited.max() <= TOLERANCE:
        return "carries"
    if to_base.max() <= TOLERANCE:
        return "other" if "other" in identities else "base"
    between = bool(((progress > TOLERANCE) & (progress < 1 + TOLERANCE)).all())
    return "partly" if between and beside.max() <= 2 * TOLERANCE else "other"


def together(found: Sequence[EditPresence]) -> EditPresence:
    """Of all encoders."""
    if len(set(found)) == 1:
        return found[0]
    return "partly" if {"carries", "partly"} & set(found) else "other"
