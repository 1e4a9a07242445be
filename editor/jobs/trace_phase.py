"""The trace phase: locate each concept in the text encoders."""

from collections.abc import Callable, Sequence
from typing import Literal

from api_schemas.report import TraceRecord
from editor.checkpoints import TextEncoder
from editor.checkpoints.load_transformers import load_module
from editor.generation.clip_runner import CLIPTextRunner
from editor.generation.device import ComputeDevice
from editor.io.progress import ProgressCallback, SubProgress, report_fraction, report_to
from editor.jobs.model import Model
from editor.judging.judge import Judge
from editor.prompts import ResolvedRemoval, pair_encoders
from editor.tracing.default_trace import trace_removal
from editor.tracing.traced_model import PENULTIMATE_FAMILIES


def run_trace(
    model: Model,
    removals: Sequence[ResolvedRemoval],
    judge: Judge,
    seed: int,
    device: ComputeDevice,
    progress: Callable[[str], ProgressCallback],
) -> list[TraceRecord]:
    """Trace each concept through every CLIP text encoder, one after the other on the device; a model may have none.

    Args:
        progress: from a message to the callback that reports finished fractions under it.
    """
    records: list[TraceRecord] = []
    encoders = pair_encoders(model.checkpoint, model.prompt_builders)
    share = 1 / max(len(encoders) * len(removals), 1)
    for encoder, builder in encoders:
        runner = load_runner(model, encoder, device)
        for index, removal in enumerate(removals):
            part = SubProgress(progress(f"tracing {removal.concept.name}"), len(records) * share, share)
            with report_to(part):
                records.append(trace_removal(runner, builder, judge, removals, index, seed, report_fraction))
    return sorted(records, key=lambda record: record.removal)


def load_runner(model: Model, encoder: TextEncoder, device: ComputeDevice) -> CLIPTextRunner:
    """Load a text encoder on a device, in float32."""
    penultimate = model.checkpoint.family in PENULTIMATE_FAMILIES
    output: Literal["final", "penultimate"] = "penultimate" if penultimate else "final"
    return CLIPTextRunner(load_module(encoder).to(device.torch_device), output, encoder.component)
