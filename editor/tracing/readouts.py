"""Read-outs of text encoder states: how much of the concept is in them.

Scores are higher the closer a run is to the clean one, in any unit; effects are shares of what the corruption lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from editor.generation.clip_runner import CLIPTextRunner
from editor.generation.config import EncoderStates
from editor.generation.memory_budget import MemoryBudget
from editor.generation.module_device import in_float64
from editor.judging.judge import Judge
from editor.prompts import PromptBuilder, ResolvedRemoval
from editor.tracing.corruption import Sample, prompt_indices
from editor.tracing.patched_runs import run_with_cache
from editor.tracing.traced_prompts import TracedPrompts

TEXT_BATCH_SIZE = 1024
"""Runs in a batch without images: enough to use every core, few enough to respond soon to a cancellation."""
FIT_PROMPTS = 300
RIDGE = 1e-2
"""Ridge penalty relative to the mean eigenvalue of the states' second moment."""


class ReadOut(Protocol):
    """Scores runs of the text encoders."""

    @property
    def name(self) -> str:
        """Description for the result."""

    @property
    def reads_padding(self) -> bool:
        """Whether padding positions matter. If not, no position after EOS is computed."""

    def batch_size(self, budget: MemoryBudget) -> int:
        """Return how many runs fit the budget in one batch."""

    def score(self, states: EncoderStates, samples: Sequence[Sample]) -> Tensor:
        """Score each run, ``(rows,)``."""


@dataclass(frozen=True)
class TextDistance:
    """Negative Euclidean distance to the clean states of all positions; padding counts because the UNet attends to it."""

    clean: EncoderStates
    """One row for each prompt."""
    name: str = "distance in text space"
    reads_padding: bool = True

    def batch_size(self, budget: MemoryBudget) -> int:
        """See `ReadOut.batch_size`."""
        return TEXT_BATCH_SIZE

    def score(self, states: EncoderStates, samples: Sequence[Sample]) -> Tensor:
        """See `ReadOut.score`."""
        prompts = prompt_indices(samples)
        pairs = zip(states, self.clean, strict=True)
        squares = [in_float64(own - clean[prompts]).square().sum((1, 2)).cpu() for own, clean in pairs]
        return -torch.stack(squares).sum(0).sqrt()


def summarize_states(hidden: Tensor, eos_positions: Tensor) -> Tensor:
    """Summarize a prompt's states in one row on the CPU: the mean up to EOS, the mean of the padding, and a constant 1."""
    states = in_float64(hidden)
    positions, ends = torch.arange(states.shape[1], device=states.device), eos_positions[:, None].to(states.device)
    masks = ((positions > 0) & (positions <= ends), positions > ends)
    means = [(states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1) for mask in masks]
    return torch.cat([*means, torch.ones_like(means[0][:, :1])], dim=1).cpu()


def concept_directions(judge: Judge, prompts: TracedPrompts) -> Tensor:
    """Return the direction from the mean of the same prompts about other values to each prompt, ``(prompts, judge width)``.

    The product with an image embedding is the image's cosine similarity to the value less that to the other values.
    """
    return torch.stack(
        [
            (judge.embed_texts([text])[0] - judge.embed_texts(others).mean(0)).cpu()
            for text, others in zip(prompts.texts, prompts.alternatives, strict=True)
        ]
    )


@dataclass(frozen=True)
class LinearJudge:
    """A linear map from encoder states to the judge's embedding of the same prompt."""

    matrix: Tensor
    """``(2 width + 1, judge width)``, float64; the last row is the constant."""
    directions: Tensor
    eos_positions: Tensor
    name: str = "judge, linear in text space"
    reads_padding: bool = True

    def batch_size(self, budget: MemoryBudget) -> int:
        """See `ReadOut.batch_size`."""
        return TEXT_BATCH_SIZE

    def score(self, states: EncoderStates, samples: Sequence[Sample]) -> Tensor:
        """See `ReadOut.score`."""
        prompts = prompt_indices(samples)
        embedded = F.normalize(summarize_states(states[0], self.eos_positions[prompts]) @ self.matrix, dim=1)
        return (embedded * self.directions[prompts].to(embedded)).sum(1)


def fit_ridge(judge: Judge, hidden: Tensor, eos_positions: Tensor, texts: Sequence[str]) -> Tensor:
    """Fit a ridge regression of the judge's embeddings of ``texts`` on their states ``(n, length, width)``."""
    inputs, targets = summarize_states(hidden, eos_positions), judge.embed_texts(texts).cpu().double()
    moment = inputs.T @ inputs
    moment.diagonal().add_(RIDGE * float(moment.trace()) / len(moment))
    matrix: Tensor = torch.linalg.solve(moment, inputs.T @ targets)
    return matrix


@torch.no_grad()
def fit_linear_judge(
    encoder: CLIPTextRunner,
    prompt_builder: PromptBuilder,
    judge: Judge,
    prompts: TracedPrompts,
    removals: Sequence[ResolvedRemoval] = (),
) -> LinearJudge:
    """Fit the read-out on the traced prompts and on prompts about concepts that no removal names."""
    retain = prompt_builder.tokenize_all(
        prompt_builder.retain_texts(prompt_builder.retain_phrases(removals), FIT_PROMPTS)
    )
    ids = torch.cat([prompts.ids, torch.stack([prompt.ids for prompt in retain])])
    eos_positions = torch.cat([prompts.eos_positions, torch.tensor([prompt.eos for prompt in retain])])
    states = run_with_cache(encoder, encoder.embed(ids)).states
    matrix = fit_ridge(judge, states, eos_positions, [*prompts.texts, *(prompt.text for prompt in retain)])
    return LinearJudge(matrix, concept_directions(judge, prompts), prompts.eos_positions)
