"""The cost of a calibration before anything is generated: images, time and memory."""

import time
from dataclasses import replace

import torch

from api_schemas.plans import PlanEstimate
from editor.errors import CostError
from editor.features.activations.noised_source import activations_at_timestep, encode_images
from editor.features.sae.training import SaeTrainer
from editor.generation.config import ImageSpec
from editor.generation.sampling import generate_images
from editor.jobs.calibration import KINDS, CalibrationOptions, CalibrationRun
from editor.jobs.cost_estimate import MEASUREMENT_PROMPT, GenerationCost

TRAINING_STEPS = 3
"""Steps of an autoencoder that are timed, after one that warms up."""
MIN_OBJECTS, MIN_IMAGES = 12, 4
"""Fewest objects, and images of each, that a refusal proposes: those of a request."""


def estimate_calibration(run: CalibrationRun, cost: GenerationCost) -> PlanEstimate:
    """Return the cost of a calibration. Images that are cached make it shorter."""
    images = len(run.phrases)
    generating = cost.seconds(images, run.sampler.steps)
    recording, channels = measure_recording(run)
    training = sum(measure_training(run, channels[run.modules[kind]]) for kind in KINDS)
    seconds = generating + images * recording + training
    return PlanEstimate(images=images, seconds=round(seconds, 1), memory=cost.memory)


def measure_recording(run: CalibrationRun) -> tuple[float, dict[str, int]]:
    """Return the time to record an image's activations in seconds, and each module's channels."""
    image = generate_images(
        run.pipeline, replace(run.sampler, steps=1), [ImageSpec(MEASUREMENT_PROMPT, run.options.seed)]
    )
    start = time.perf_counter()
    latents, modules = encode_images(run.pipeline, image), list(dict.fromkeys(run.modules.values()))
    maps = activations_at_timestep(
        run.pipeline, latents, torch.zeros_like(latents), run.options.timestep, modules, precision=run.sampler.precision
    )
    return time.perf_counter() - start, {name: states.shape[1] for name, states in maps.items()}


def measure_training(run: CalibrationRun, channels: int) -> float:
    """Return the time to train an autoencoder in seconds, from a few steps on random activations."""
    config = run.autoencoder_config(channels)
    rows = torch.randn(config.batch, channels, generator=torch.Generator().manual_seed(0))
    trainer = SaeTrainer(rows, config, torch.device(run.training_device))
    trainer.train_step()
    start = time.perf_counter()
    for _ in range(TRAINING_STEPS):
        float(trainer.train_step())  # waits for the device
    return (time.perf_counter() - start) / TRAINING_STEPS * config.steps


def check_calibration_limit(run: CalibrationRun, estimate: PlanEstimate, limit: float | None) -> None:
    """Check that a calibration fits the time limit of a job.

    Raises:
        CostError: it does not; the remedy has the numbers that would fit.
    """
    seconds = estimate.seconds or 0.0
    if limit is None or seconds <= limit:
        return
    raise CostError(
        f"The calibration would generate {estimate.images} images and take about {seconds:.0f} s on this device, and the time "
        f"limit of a job is {limit:.0f} s.",
        field="images",
        remedy=f"Set {' or '.join(options_that_fit(run.options, limit / seconds))}, or EXPUNGE_HARD_LIMIT_SECONDS to more.",
    )


def options_that_fit(options: CalibrationOptions, share: float) -> list[str]:
    """Return the changes of single options that let a calibration take a share of its time, as far as requests allow them."""
    objects, images = int(share * options.objects), int(share * options.images)
    fitting = [f"objects to {objects}"] if objects >= MIN_OBJECTS else []
    fitting += [f"images to {images}"] if images >= MIN_IMAGES else []
    return fitting or [f"steps and training_steps to {share:.0%} of what they are"]
