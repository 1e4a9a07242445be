"""The cost of a validation before anything is generated: images, time and memory of this model on this device.

Time and memory come from a short measurement with the pipeline; see `remembered_cost`.
"""

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from api_schemas.edits import EditRequest, Validation
from api_schemas.plans import PlanEstimate
from editor.errors import CostError
from editor.generation.config import ImageSpec, Sampler
from editor.generation.sampling import generate_images
from editor.jobs.model import Model
from editor.judging.judge import Judge
from editor.judging.planned_images import count_planned_images
from editor.judging.prompt_groups import request_groups
from editor.prompts import ResolvedRemoval

MEASUREMENT_PROMPT = "a photo"
FAST_SECONDS = 0.5
"""If an image of two steps takes less, a batch is measured too: small models are several times as fast in batches."""
BATCH = 8
MIN_STEPS = 4
"""Fewest steps that a refusal proposes."""


class GenerationCost(BaseModel):
    """What an image costs."""

    model_config = ConfigDict(frozen=True)

    seconds_per_step: float
    seconds_per_image: float
    """For everything but the steps, such as decoding."""
    default_steps: int
    """Sampler steps of a request that states none."""
    memory: int
    """Peak memory in bytes: the device's, or the process's on a CPU."""

    def seconds(self, images: int, steps: int | None) -> float:
        """Return the time for a number of images; None for the default steps."""
        return images * (self.seconds_per_image + (steps or self.default_steps) * self.seconds_per_step)


def count_images(request: EditRequest, model: Model, removals: Sequence[ResolvedRemoval], judge: Judge) -> int:
    """Count the images that the validation would generate: each prompt and seed, before and after the edit, and references."""
    options = request.validation
    groups = request_groups(
        model.prompts,
        judge,
        removals,
        options.retain_prompts,
        max_removal_prompts=options.prompts,
        top_up=options.top_up if options.sequential else 1,
    )
    return count_planned_images(groups, range(options.seeds))


def measure_cost(pipeline: Any, sampler: Sampler) -> GenerationCost:
    """Measure one image of one and of two steps, and batches of them if they are fast. The first image warms up.

    Raises:
        DeviceError: the memory does not suffice for one image.
    """

    def timed(steps: int, images: int) -> float:
        specs = [ImageSpec(MEASUREMENT_PROMPT, seed) for seed in range(images)]
        start = time.perf_counter()
        generate_images(pipeline, replace(sampler, steps=steps), specs)
        return (time.perf_counter() - start) / images

    timed(1, 1)
    images = BATCH if timed(2, 1) < FAST_SECONDS else 1
    one, two = timed(1, images), timed(2, images)
    step = max(two - one, two / 10)
    return GenerationCost(
        seconds_per_step=step,
        seconds_per_image=max(two - 2 * step, 0.0),
        default_steps=sampler.steps,
        memory=peak_memory(sampler.device),
    )


def peak_memory(device: str) -> int:
    """Return the peak memory of a type of device in bytes; that of the process on a CPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def make_estimate(images: int, options: Validation, cost: GenerationCost) -> PlanEstimate:
    """Return the estimate of a validation. Early stopping and cached images make it shorter."""
    return PlanEstimate(images=images, seconds=round(cost.seconds(images, options.steps), 1), memory=cost.memory)


def exceeds(images: int, options: Validation, cost: GenerationCost, limit: float | None) -> bool:
    """Return whether a validation would take longer than a job may."""
    return limit is not None and cost.seconds(images, options.steps) > limit


def check_time_limit(images: int, options: Validation, cost: GenerationCost, limit: float | None) -> None:
    """Check that a validation fits the time limit of a job.

    Raises:
        CostError: it does not; the remedy has the numbers that would fit.
    """
    if limit is None or not exceeds(images, options, cost, limit):
        return
    seconds = cost.seconds(images, options.steps)
    raise CostError(
        f"The validation would generate up to {images} images in about {seconds:.0f} s on this device, and the time limit of a "
        f"job is {limit:.0f} s.",
        field="validation.prompts",
        remedy=f"Set {' or '.join(options_that_fit(images, options, cost, limit))}.",
    )


def options_that_fit(images: int, options: Validation, cost: GenerationCost, limit: float) -> list[str]:
    """Return the changes of single options, or of both numbers of prompts, that let a validation fit the limit."""
    share = limit / cost.seconds(images, options.steps)
    steps = int((limit / images - cost.seconds_per_image) / cost.seconds_per_step)
    seeds, prompts, retain = (int(share * value) for value in (options.seeds, options.prompts, options.retain_prompts))
    fitting = [f"validation.prompts to {max(prompts, 1)} and validation.retain_prompts to {max(retain, 1)}"]
    fitting += [f"validation.seeds to {seeds}"] if seeds else []
    fitting += ["validation.top_up to 1"] if options.sequential and options.top_up * share >= 1 else []
    return fitting + ([f"validation.steps to {steps}"] if steps >= MIN_STEPS else [])
