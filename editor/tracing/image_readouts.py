"""Read-outs that need the image backbone: its noise prediction, and the judge's view of sampled images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from editor.generation.batched_pipeline import BatchedPipeline
from editor.generation.config import EncoderStates
from editor.generation.denoiser import Conditioning, Denoiser, Intervention, NoIntervention, select_rows
from editor.generation.memory_budget import MemoryBudget
from editor.io.progress import ProgressCallback, no_progress
from editor.judging.judge import Judge
from editor.tracing.corruption import Sample

Conditions = Callable[[EncoderStates, Sequence[Sample]], Conditioning]
"""What the backbone is given for the states of some samples' runs."""
TIMESTEPS = 4
"""At which the noise predictions are compared, spread over all steps."""


@dataclass(frozen=True)
class NoisyLatents:
    """Inputs of the backbone that all runs of a sample share."""

    timesteps: Sequence[Tensor]
    latents: Sequence[Tensor]
    """One ``(samples, ...)`` for each timestep."""


def along_the_way(
    painter: BatchedPipeline, condition: Conditioning, samples: Sequence[Sample], rows: int
) -> NoisyLatents:
    """What the UNet is given on the way to the clean images, at a few timesteps."""
    chosen = [int((i + 0.5) * painter.sampler.steps / TIMESTEPS) for i in range(TIMESTEPS)]
    collected: list[list[tuple[Tensor, Tensor]]] = []
    for start in range(0, len(samples), rows):
        part = list(range(start, min(start + rows, len(samples))))
        inputs = painter.denoise(select_rows(condition, part), [samples[i].seed for i in part])[1]
        collected.append([inputs[step] for step in chosen])
    by_step = list(zip(*collected, strict=True))
    return NoisyLatents([step[0][0] for step in by_step], [torch.cat([given for _, given in step]) for step in by_step])


@dataclass
class NoisePrediction:
    """Minus the relative distance to the reference's noise prediction, a mean over a few timesteps; no guidance."""

    denoiser: Denoiser
    condition: Conditions
    samples: Sequence[Sample]
    noisy: NoisyLatents
    reference: list[Tensor]
    """Predictions of the clean runs, one ``(samples, ...)`` for each timestep."""
    rows_at_once: Callable[[MemoryBudget], int]
    name: str = "noise prediction on shared latents"
    whole: bool = True
    numbers: dict[Sample, int] = field(init=False)

    def __post_init__(self) -> None:
        self.numbers = {sample: i for i, sample in enumerate(self.samples)}

    def rows(self, budget: MemoryBudget) -> int:
        """As many as two halves of guidance would be."""
        return self.rows_at_once(budget)

    def scores(self, states: EncoderStates, samples: Sequence[Sample], edits: Intervention | None = None) -> Tensor:
        """``(rows,)``"""
        edits, own = edits or NoIntervention(), torch.tensor([self.numbers[sample] for sample in samples])
        condition, total = self.condition(states, samples), torch.zeros(len(samples), dtype=torch.float64)
        with edits.apply(self.denoiser.backbone, 0):
            for timestep, latents, reference in zip(
                self.noisy.timesteps, self.noisy.latents, self.reference, strict=True
            ):
                predicted = self.denoiser.predict(latents[own], timestep, condition)
                total -= relative_distance(predicted, reference[own])
        return total / len(self.reference)


def relative_distance(predicted: Tensor, reference: Tensor) -> Tensor:
    """``(rows,)``: Euclidean distance over the reference's norm."""
    distance: Tensor = (predicted - reference).flatten(1).norm(dim=1) / reference.flatten(1).norm(dim=1)
    return distance.double()


def noise_prediction(
    denoiser: Denoiser,
    condition: Conditions,
    clean: EncoderStates,
    samples: Sequence[Sample],
    noisy: NoisyLatents,
    rows_at_once: Callable[[MemoryBudget], int],
) -> NoisePrediction:
    """The read-out, its reference predicted from the clean states, a row for each sample."""
    given = condition(clean, samples)
    pairs = zip(noisy.timesteps, noisy.latents, strict=True)
    reference = [denoiser.predict(latents, timestep, given) for timestep, latents in pairs]
    return NoisePrediction(denoiser, condition, samples, noisy, reference, rows_at_once)


@dataclass(frozen=True)
class Images:
    """How much nearer the judge finds a sampled image to the value than to other values."""

    painter: BatchedPipeline
    judge: Judge
    condition: Conditions
    directions: Tensor
    """``(prompts, judge width)``, see :func:`editor.tracing.readouts.directions`."""
    tick: ProgressCallback = no_progress
    whole: bool = True

    @property
    def name(self) -> str:
        """In words."""
        sampler = self.painter.sampler
        return f"judge's score of images, {sampler.steps} steps, guidance {sampler.guidance:g}"

    def rows(self, budget: MemoryBudget) -> int:
        """What the memory holds."""
        return self.painter.batch_size(budget)

    def scores(self, states: EncoderStates, samples: Sequence[Sample], edits: Intervention | None = None) -> Tensor:
        """``(rows,)``"""
        condition = self.condition(states, samples)
        images = self.painter.generate(condition, [sample.seed for sample in samples], edits, self.tick)
        wanted = self.directions[torch.tensor([sample.prompt for sample in samples])]
        return (self.judge.embed_images(images) * wanted).sum(1).double()
