"""The trace phase: locate each concept in the text encoder."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from pydantic import Field

from api_schemas.edits import EditRequest
from api_schemas.gates import Policy
from api_schemas.report import TraceRecord
from editor.checkpoints.load_transformers import load_module
from editor.generation.sampling import check_supported_pipeline
from editor.io.progress import ProgressCallback
from editor.jobs.edit_phase import LedgerJoin
from editor.jobs.model import Model
from editor.jobs.phase_store import PhaseResult
from editor.judging.attacks import load_attacks
from editor.judging.detectors import load_detectors
from editor.judging.judge import Judge
from editor.prompts import ResolvedRemoval
from editor.publishing.attestation.keys import open_signer
from editor.tracing.default_trace import trace_removal


class TraceResult(PhaseResult):
    """The result of the trace phase."""

    policy: Policy
    """The gates, fixed before anything is measured."""
    traces: list[TraceRecord] = Field(default_factory=list)
    """Empty without validation: there is no judge to read out the effects with."""


def check_prerequisites(
    request: EditRequest, model: Model, joined: LedgerJoin | None, signing_dir: Path | None, now: datetime
) -> None:
    """Raise EditorError if a later phase could not run, before any work is done.

    Checks that images can be generated with the model, that the ledger accepts the removals, that the signing key is usable,
    and that the requested attacks and detectors are installed.
    """
    if request.validation.enabled:
        check_supported_pipeline(model.path)
    if joined:
        joined.updated_ledger(model.checkpoint)
    open_signer(signing_dir, now)
    load_attacks(request.validation.attacks)
    load_detectors(request.validation.detectors)


def run_trace(
    model: Model,
    removals: Sequence[ResolvedRemoval],
    judge: Judge,
    seed: int,
    progress: Callable[[str], ProgressCallback],
) -> list[TraceRecord]:
    """Trace each concept through the first text encoder.

    Args:
        progress: from a message to the callback that reports finished fractions under it.
    """
    encoder = load_module(model.first_encoder)
    return [
        trace_removal(encoder, model.prompts, judge, removals, index, seed, progress(f"tracing {removal.concept.name}"))
        for index, removal in enumerate(removals)
    ]
