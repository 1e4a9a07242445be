"""Check a deployed pipeline against a report: the replaced tensors by their digests, and the canaries by their states.

A tensor's digest is proof, in any precision that weights are cast to. If it matches neither the edited nor the original tensor
(a fused LoRA, a merge), the canaries decide: how far each state moved along the line from the base model's state to the edited
one, and how far it is from that line.
"""

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from api_schemas.deployment import ComponentFound, Deployment, EditPresence, Identity, TensorFound
from api_schemas.report import AuditReport, CanaryRecord, TensorRecord
from editor.checkpoints import Denoiser, open_checkpoint
from editor.checkpoints.tensor_reader import DTYPES
from editor.errors import CheckpointError, PublishingError
from editor.io.digests import tensor_digest
from editor.publishing.deployment.canaries import unpack_state
from editor.publishing.deployment.encoder_readers import EncoderReader, LoadedEncoder, StoredDenoiser, StoredEncoder
from editor.publishing.deployment.served_files import check_served_files
from editor.publishing.deployment.update_scale import ExpectedUpdates, ScaleFit, fit_scale

CANARY_TOLERANCE = 0.1
"""Relative to how far the edit moves a state. Casting to bfloat16 moves it by about 0.02, another edit by 0.5 or more."""
MAX_ORTHOGONAL_DRIFT = 0.5
"""How far other removals in the same weights may move a fully edited state off the line; twenty move it by 0.2 to 0.4."""
SCALE_TOLERANCE = 0.05
"""How far the scale of a LoRA may be from 1. Rounding to bfloat16 changes it by less than 0.01."""
CARRIED_DETAILS: dict[EditPresence, str] = {
    "carries": "its canary prompts have the edited states",
    "altered": "its canary prompts have the edited states",
    "partly": "its canary prompts moved part of the way: a LoRA at another scale, or a merge with the base model",
    "base": "it is the base model's: the removal is absent",
    "other": "it is neither the edited component nor the base model's: another edit, or another model",
}


def check_deployment(pipeline: Any, report: AuditReport, updates: ExpectedUpdates = MappingProxyType({})) -> Deployment:
    """Check whether a pipeline carries the removal of a report.

    Args:
        pipeline: a diffusers pipeline, or the path of a stored one (a diffusers folder, or a single file).
        report: provides the ``tensors`` and ``canaries`` to check.
        updates: from :func:`editor.publishing.deployment.update_scale.read_updates`; they tell a LoRA at another scale from
            another edit.

    Raises:
        PublishingError: the report names no tensors, or the pipeline lacks a text encoder.
        CheckpointError: the stored pipeline cannot be read.
    """
    components = list(dict.fromkeys(tensor.component for tensor in report.tensors))
    if not components:
        raise PublishingError(
            "The report names no tensor.", field="report", remedy="Publish the edit again with this version of Expunge."
        )
    found = [check_component(name, open_reader(pipeline, name), report, updates) for name in components]
    carried = combine_carried([one.carried for one in found])
    files = (
        check_served_files(pipeline, report) if carried == "carries" and is_comparable(pipeline, found, report) else []
    )
    altered = any(file.identity == "differs" for file in files)
    return Deployment(carried="altered" if altered else carried, components=found, files=files)


def is_comparable(pipeline: Any, found: Sequence[ComponentFound], report: AuditReport) -> bool:
    """Whether the digests of a pipeline's files can match: it is stored, and its weights were not cast or merged."""
    stored = {(one.component, one.name): one.dtype for one in report.tensors}
    return isinstance(pipeline, Path) and all(
        tensor.identity == "edited" and tensor.dtype == stored[one.component, tensor.name]
        for one in found
        for tensor in one.tensors
    )


def open_reader(pipeline: Any, component: str) -> EncoderReader:
    """Open a pipeline's text encoder. Raises PublishingError: the pipeline has none of that name."""
    if isinstance(pipeline, Path):
        found = open_checkpoint(pipeline).component(component)
        return StoredDenoiser(found) if isinstance(found, Denoiser) else StoredEncoder(found)
    module = getattr(pipeline, component, None)
    if module is None:
        raise PublishingError(
            f"The pipeline has no {component}.",
            field="pipeline",
            remedy="Use a pipeline of the family that the report is about.",
        )
    return LoadedEncoder(module, getattr(pipeline, component.replace("text_encoder", "tokenizer")))


def check_component(
    component: str, reader: EncoderReader, report: AuditReport, updates: ExpectedUpdates
) -> ComponentFound:
    """Check one text encoder."""
    tensors = [check_tensor(one, reader.tensor(one.name)) for one in report.tensors if one.component == component]
    asked = [one for one in report.canaries if one.component == component and one.prompt]
    way = canary_displacements(reader, asked, tensors)
    own = {name: update for (owner, name), update in updates.items() if owner == component}
    fit = fit_scale([*own.values()], [reader.effective_weight(name) for name in own])
    carried = decide_carried(tensors, way, fit)
    return ComponentFound(
        component=component,
        carried=carried,
        tensors=tensors,
        canaries=len(asked) if way else 0,
        progress=round(float(way[0].median()), 4) if way else None,
        error=round(float(way[1].max()), 4) if way else None,
        scale=round(fit.scale, 4) if fit else None,
        residual=round(fit.residual, 4) if fit else None,
        detail=carried_detail(carried, fit),
    )


def carried_detail(carried: EditPresence, fit: ScaleFit | None) -> str:
    """Describe a result, with the scale of the update if it was fitted."""
    if fit is None or carried not in ("partly", "other"):
        return CARRIED_DETAILS[carried]
    unexplained = f"{fit.residual:.0%} of its difference from the base model"
    if fit.explains:
        return f"it carries the update at scale {fit.scale:.2f}, which leaves {unexplained} unexplained"
    return f"another edit, or another model: the update, at scale {fit.scale:.2f}, leaves {unexplained} unexplained"


def check_tensor(record: TensorRecord, tensor: Tensor | None) -> TensorFound:
    """Identify a tensor by its digest."""
    dtype = next((name for name, kind in DTYPES.items() if tensor is not None and kind == tensor.dtype), None)
    return TensorFound(name=record.name, identity=tensor_identity(record, tensor, dtype), dtype=dtype)


def tensor_identity(record: TensorRecord, tensor: Tensor | None, dtype: str | None) -> Identity:
    """Compare a tensor's digest, in its own precision, with the recorded ones."""
    if tensor is None or dtype is None:
        return "unknown"
    digest = tensor_digest(tensor)
    if digest == record.edited.get(dtype):
        return "edited"
    return "base" if digest == record.base.get(dtype) else "other"


Displacements = tuple[Tensor, Tensor, Tensor, Tensor]
"""For each canary, relative to how far the edit moves it: progress along the line from the base state to the edited state, and
the distances from the edited state, from the base state and from the line."""


def canary_displacements(
    reader: EncoderReader, asked: Sequence[CanaryRecord], tensors: Sequence[TensorFound]
) -> Displacements | None:
    """Measure the canaries. Return None without canaries, or if the tokenizer is missing and the digests suffice."""
    decided = {tensor.identity for tensor in tensors} in ({"edited"}, {"base"})
    try:
        return measure_displacements(reader, asked) if asked else None
    except CheckpointError:
        if decided:
            return None
        raise


def measure_displacements(reader: EncoderReader, asked: Sequence[CanaryRecord]) -> Displacements:
    """Measure how far the canaries moved. Raises PublishingError: the encoder has another width."""
    states = reader.states([one.prompt or "" for one in asked])
    base, edited = (torch.stack([unpack_state(text) for text in texts]) for texts in reference_states(asked))
    if states.shape != base.shape:
        raise PublishingError(
            f"The text encoder has width {states.shape[1]}, but the report is about one of width {base.shape[1]}.",
            field="pipeline",
            remedy="Use a pipeline of the model that the report is about.",
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


def reference_states(asked: Sequence[CanaryRecord]) -> tuple[list[str], list[str]]:
    """Return the encoded base states and edited states."""
    return [one.base for one in asked], [one.edited for one in asked]


def decide_carried(
    tensors: Sequence[TensorFound], way: Displacements | None, fit: ScaleFit | None = None
) -> EditPresence:
    """Decide from digests, canaries and the scale of the update.

    Matching digests do not suffice: another part of the encoder may have changed.
    """
    found = decide_by_states({tensor.identity for tensor in tensors}, way)
    if way is None and fit is not None and fit.explains:  # a denoiser has no canaries
        return "carries" if abs(fit.scale - 1) <= SCALE_TOLERANCE else "partly"
    is_scaled = fit is not None and fit.explains and abs(fit.scale - 1) > SCALE_TOLERANCE
    return "partly" if found != "base" and is_scaled else found


def decide_by_states(identities: set[Identity], way: Displacements | None) -> EditPresence:
    """Decide from digests and canaries. Tensors that are exactly the edited ones were not scaled: something else changed."""
    if way is None:
        return "carries" if identities == {"edited"} else "base" if identities == {"base"} else "other"
    progress, to_edited, to_base, beside = way
    more = (
        "other" in identities and progress.median() >= 1 - CANARY_TOLERANCE and to_edited.max() <= MAX_ORTHOGONAL_DRIFT
    )
    if more or to_edited.max() <= CANARY_TOLERANCE:
        return "carries"
    if to_base.max() <= CANARY_TOLERANCE:
        return "other" if "other" in identities else "base"
    between = bool(((progress > CANARY_TOLERANCE) & (progress < 1 + CANARY_TOLERANCE)).all())
    is_partial = between and beside.max() <= 2 * CANARY_TOLERANCE and identities != {"edited"}
    return "partly" if is_partial else "other"


def combine_carried(found: Sequence[EditPresence]) -> EditPresence:
    """Combine the results of all text encoders."""
    if len(set(found)) == 1:
        return found[0]
    return "partly" if {"carries", "partly"} & set(found) else "other"
