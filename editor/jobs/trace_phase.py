"""The trace phase: locate each concept in the text encoder."""

from collections.abc import Callable, Sequence

from api_schemas.report import TraceRecord
from editor.checkpoints.load_transformers import load_module
from editor.io.progress import ProgressCallback, SubProgress, report_fraction, report_to
from editor.jobs.model import Model
from editor.judging.judge import Judge
from editor.prompts import ResolvedRemoval
from editor.tracing.default_trace import trace_removal


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
    encoder, records = load_module(model.first_encoder), []
    for index, removal in enumerate(removals):
        part = SubProgress(progress(f"tracing {removal.concept.name}"), index / len(removals), 1 / len(removals))
        with report_to(part):
            records.append(trace_removal(encoder, model.prompts, judge, removals, index, seed, report_fraction))
    return records
