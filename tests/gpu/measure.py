"""Measure generation and whole jobs on a device: seconds, images per second, peak memory."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from api_schemas.edits import EditRequest, Removal, Validation
from editor.generation.config import Image, ImageSpec, Sampler
from editor.generation.device import ComputeDevice
from editor.generation.pipeline_call import call_pipeline
from editor.generation.sampling import generate_images
from editor.jobs.local_erasure import erase
from editor.judging.judge import open_judge
from editor.prompts import open_prompt_builder

PROMPTS = ("a cat in the style of Claude Monet", "a bicycle, watercolor", "a castle", "a photo of a horse on a table")


@dataclass(frozen=True)
class Speed:
    """How fast images are generated."""

    images_per_second: float
    loop_images_per_second: float
    """One call of the pipeline for each image."""
    peak_gib: float
    """Peak memory of the device, weights included."""

    def describe(self) -> str:
        """Return the figures in one line."""
        ratio = self.images_per_second / self.loop_images_per_second
        return (
            f"{self.images_per_second:.2f} images/s, one at a time {self.loop_images_per_second:.2f} ({ratio:.2f}x), "
            f"peak {self.peak_gib:.1f} GiB"
        )


def seconds(run: Callable[[], Any]) -> float:
    """Return how long a computation takes, after one that warms up."""
    run()
    synchronize()
    start = time.perf_counter()
    run()
    synchronize()
    return time.perf_counter() - start


def synchronize() -> None:
    """Wait until the GPU has finished."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def specs_of(images: int) -> list[ImageSpec]:
    """Return prompts with seeds."""
    return [ImageSpec(PROMPTS[i % len(PROMPTS)], i) for i in range(images)]


def measure_speed(pipeline: Any, sampler: Sampler, images: int) -> Speed:
    """Compare our generation with one pipeline call for each image."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    specs = specs_of(images)
    ours = seconds(partial(generate_images, pipeline, sampler, specs))
    peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
    inputs = {"prompt": [specs[0].prompt]}
    loop = seconds(lambda: [call_pipeline(pipeline, sampler, inputs, [spec.seed]) for spec in specs[:2]]) / 2
    return Speed(images / ours, 1 / loop, peak)


def mean_difference(first: list[Image], second: list[Image]) -> float:
    """Return the mean absolute difference of images, in the range 0 to 1."""
    return float(np.abs(np.stack(first).astype(float) - np.stack(second)).mean() / 255)


@dataclass(frozen=True)
class JobFigures:
    """A whole job with validation."""

    verdict: str
    files: list[str]
    phase_seconds: dict[str, float]
    seconds: float

    def describe(self) -> str:
        """Return the figures in one line."""
        phases = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.phase_seconds.items())
        return f"{self.verdict} after {self.seconds:.1f} s ({phases}), {len(self.files)} files"


def favourite_class(model: Path, judge: Path, pipeline: Any, sampler: Sampler, device: ComputeDevice) -> str:
    """Return the object that a judge with random weights recognises most often: a removal of it can be evaluated."""
    profile = open_prompt_builder(model).profile
    opened = open_judge(judge, model, profile, device.torch_device)
    names = list(profile.object_names[:40])
    embeddings = opened.embed_images(generate_images(pipeline, sampler, specs_of(4)))
    found, _ = opened.classify("object", embeddings, names)
    return max(set(found), key=found.count)


def run_job(model: Path, concept: str, out: Path, cache: Path, steps: int, size: int) -> JobFigures:
    """Remove a concept with validation, and time the phases."""
    validation = Validation(prompts=4, retain_prompts=4, steps=steps, height=size, width=size)
    request = EditRequest(removals=[Removal(concept=concept)], validation=validation)
    starts: dict[str, float] = {}

    def note(phase: str, fraction: float, message: str) -> None:
        starts.setdefault(phase, time.perf_counter())

    begin = time.perf_counter()
    erasure = erase(request, model, out, cache=cache, progress=note)
    end = time.perf_counter()
    bounds = [*starts.values(), end]
    phases = {name: bounds[i + 1] - start for i, (name, start) in enumerate(starts.items())}
    return JobFigures(str(erasure.report.verdict), sorted(p.name for p in erasure.files), phases, end - begin)
