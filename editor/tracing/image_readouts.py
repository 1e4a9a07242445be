"""Read-outs that run the image backbone: its noise prediction, and the judge's score of generated images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from editor.generation.batched_pipeline import BatchedPipeline
from editor.generation.config import EncoderStates
from editor.generation.denoiser import Conditioning, Denoiser, Intervention, NoIntervention, select_rows
from editor.generation.memory_budget import MemoryBudget
from editor.generation.module_device import in_float64
from editor.io.progress import ProgressCallback, no_progress
from editor.judging.judge import Judge
from editor.tracing.corruption import Sample

ConditioningFn = Callable[[EncoderStates, Sequence[Sample]], Conditioning]
"""Returns the backbone's conditioning for encoder states of the samples' runs."""
COMPARED_TIMESTEPS = 4
"""Number of timesteps at which noise predictions are compared, spread over all steps."""


@dataclass(frozen=True)
class NoisyLatents:
    """Inputs of the backbone that all runs of a sample share."""

    timesteps: Sequence[Tensor]
    latents: Sequence[Tensor]
    """One ``(samples, ...)`` for each timestep."""


def collect_noisy_latents(
    pipeline: BatchedPipeline, conditioning: Conditioning, samples: Sequence[Sample], batch_size: int
) -> NoisyLatents:
    """Generate the samples' clean images, and return what entered the UNet at a few timesteps."""
    steps = [int((i + 0.5) * pipeline.sampler.steps / COMPARED_TIMESTEPS) for i in range(COMPARED_TIMESTEPS)]
    batches: list[list[tuple[Tensor, Tensor]]] = []
    for start in range(0, len(samples), batch_size):
        rows = list(range(start, min(start + batch_size, len(samples))))
        inputs = pipeline.denoise(select_rows(conditioning, rows), [samples[i].seed for i in rows])[1]
        batches.append([inputs[step] for step in steps])
    by_step = list(zip(*batches, strict=True))
    return NoisyLatents(
        [step[0][0] for step in by_step], [torch.cat([latents for _, latents in step]) for step in by_step]
    )


@dataclass
class NoisePrediction:
    """Negative relative distance to the clean run's noise prediction, averaged over timesteps; without guidance."""

    denoiser: Denoiser
    conditioning: ConditioningFn
    samples: Sequence[Sample]
    noisy: NoisyLatents
    reference: list[Tensor]
    """Predictions of the clean runs, one ``(samples, ...)`` for each timestep."""
    batch_size_for: Callable[[MemoryBudget], int]
    name: str = "noise prediction on shared latents"
    reads_padding: bool = True
    index_of: dict[Sample, int] = field(init=False)

    def __post_init__(self) -> None:
        self.index_of = {sample: i for i, sample in enumerate(self.samples)}

    def batch_size(self, budget: MemoryBudget) -> int:
        """Return the batch size of guided sampling, which is safe: without guidance a run needs half the memory."""
        return self.batch_size_for(budget)

    def score(
        self, states: EncoderStates, samples: Sequence[Sample], intervention: Intervention | None = None
    ) -> Tensor:
        """Score each run, ``(rows,)``."""
        intervention = intervention or NoIntervention()
        rows = torch.tensor([self.index_of[sample] for sample in samples])
        conditioning, total = self.conditioning(states, samples), torch.zeros(len(samples), dtype=torch.float64)
        with intervention.apply(self.denoiser.backbone, 0):
            for timestep, latents, reference in zip(
                self.noisy.timesteps, self.noisy.latents, self.reference, strict=True
            ):
                predicted = self.denoiser.predict(latents[rows], timestep, conditioning)
                total -= relative_distance(predicted, reference[rows]).cpu()
        return total / len(self.reference)


def relative_distance(predicted: Tensor, reference: Tensor) -> Tensor:
    """Return the Euclidean distance over the reference's norm, ``(rows,)``."""
    distance: Tensor = (predicted - reference).flatten(1).norm(dim=1) / reference.flatten(1).norm(dim=1)
    return in_float64(distance)


def make_noise_prediction(
    denoiser: Denoiser,
    conditioning: ConditioningFn,
    clean: EncoderStates,
    samples: Sequence[Sample],
    noisy: NoisyLatents,
    batch_size_for: Callable[[MemoryBudget], int],
) -> NoisePrediction:
    """Return the read-out, with the reference predicted from the clean states of each sample."""
    clean_conditioning = conditioning(clean, samples)
    pairs = zip(noisy.timesteps, noisy.latents, strict=True)
    reference = [denoiser.predict(latents, timestep, clean_conditioning) for timestep, latents in pairs]
    return NoisePrediction(denoiser, conditioning, samples, noisy, reference, batch_size_for)


@dataclass(frozen=True)
class JudgedImages:
    """How much more similar the judge finds a generated image to the value than to other values."""

    pipeline: BatchedPipeline
    judge: Judge
    conditioning: ConditioningFn
    directions: Tensor
    """``(prompts, judge width)``, see :func:`editor.tracing.readouts.concept_directions`."""
    progress: ProgressCallback = no_progress
    reads_padding: bool = True

    @property
    def name(self) -> str:
        """Description for the result."""
        sampler = self.pipeline.sampler
        return f"judge's score of images, {sampler.steps} steps, guidance {sampler.guidance:g}"

    def batch_size(self, budget: MemoryBudget) -> int:
        """Return how many images fit the budget."""
        return self.pipeline.batch_size(budget)

    def score(
        self, states: EncoderStates, samples: Sequence[Sample], intervention: Intervention | None = None
    ) -> Tensor:
        """Score each run, ``(rows,)``."""
        conditioning = self.conditioning(states, samples)
        seeds = [sample.seed for sample in samples]
        images = self.pipeline.generate(conditioning, seeds, intervention, self.progress)
        directions = self.directions[torch.tensor([sample.prompt for sample in samples])]
        return (self.judge.embed_images(images).cpu() * directions).sum(1).double()
