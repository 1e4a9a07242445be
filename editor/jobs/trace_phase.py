"""The trace phase: where the encoder keeps each concept."""

from pydantic import RootModel

from api_schemas.conflicts import Conflict
from api_schemas.report import TraceRecord
from editor.checkpoints.load_transformers import load_module
from editor.generation.sampling import check_supported_pipeline
from editor.jobs.context import JobContext, keep
from editor.judging.attacks import load_attacks
from editor.judging.detectors import load_detectors
from editor.judging.policies import resolve_policy
from editor.ledger import Ledger, LedgerFolder
from editor.publishing.attestation.keys import open_signer
from editor.tracing.default_trace import trace_removal

GATES = "gates"
"""The gates, as they were fixed before anything was measured."""
Traces = RootModel[list[TraceRecord]]


def run_trace(context: JobContext) -> None:
    """Trace each concept; without validation there is no judge to read out by, and nothing is traced.

    A ledger that would not take the removals says so first, and so do a model that can't be drawn with, a key that can't sign,
    and attacks and detectors that are not installed here.
    """
    if context.request.validation.enabled:
        check_supported_pipeline(context.checkpoint.path)
    in_ledger(context)
    open_signer(context.signing_dir, context.now)
    load_attacks(context.request.validation.attacks)
    load_detectors(context.request.validation.detectors)
    keep(context, GATES, resolve_policy(context.request.validation))
    traces = []
    if context.request.validation.enabled:
        encoder = load_module(context.source)
        for index, removal in enumerate(context.removals):
            tick = context.tick("trace", f"tracing {removal.concept.name}")
            seed = context.request.seed
            traces.append(trace_removal(encoder, context.builder, context.judge, context.removals, index, seed, tick))
    keep(context, "trace", Traces(traces))


def in_ledger(context: JobContext) -> tuple[Ledger | None, list[Conflict]]:
    """The ledger as it will stand, if there is one, and what gets in the request's way there."""
    if context.ledger is None:
        return None, []
    return LedgerFolder(context.ledger).preview_add(context.checkpoint, context.entries)


def traced(context: JobContext) -> list[TraceRecord]:
    """The trace phase's result."""
    return Traces.model_validate_json(context.result("trace").read_bytes()).root
