"""Read-outs, cheap to dear, on one interface: how much of the concept is in what the text encoder hands on.

A score is higher the nearer a run is to the clean one, in whatever unit; effects are shares of what the corruption lost.
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
from editor.judging.judge import Judge
from editor.prompts import PromptBuilder, ResolvedRemoval
from editor.tracing.corruption import Sample
from editor.tracing.patched_runs import run
from editor.tracing.traced_prompts import Traced

MANY = 1024
"""Runs at once where no image is drawn: enough to keep every core busy, few enough to stop soon when asked to."""
FIT_PROMPTS = 300
RIDGE = 1e-2
"""Relative to the mean eigenvalue of the states' second moment."""


class ReadOut(Protocol):
    """Scores runs of the text encoders."""

    @property
    def name(self) -> str:
        """What was read, in words."""

    @property
    def whole(self) -> bool:
        """Whether it reads padding too; else nothing after EOS is computed."""

    def rows(self, budget: MemoryBudget) -> int:
        """How many runs it takes at once."""

    def scores(self, states: EncoderStates, samples: Sequence[Sample]) -> Tensor:
        """``(rows,)``: one score for each run."""


@dataclass(frozen=True)
class Distance:
    """Text space: minus the Euclidean distance to the clean states of all positions, padding too: what the UNet reads."""

    clean: EncoderStates
    """Of the prompts."""
    name: str = "distance in text space"
    whole: bool = True

    def rows(self, budget: MemoryBudget) -> int:
        """Any number."""
        return MANY

    def scores(self, states: EncoderStates, samples: Sequence[Sample]) -> Tensor:
        """``(rows,)``"""
        prompts = torch.tensor([sample.prompt for sample in samples])
        pairs = zip(states, self.clean, strict=True)
        squares = [(mine - clean[prompts]).double().square().sum((1, 2)) for mine, clean in pairs]
        return -torch.stack(squares).sum(0).sqrt()


def summary(hidden: Tensor, ends: Tensor) -> Tensor:
    """What the UNet reads of a prompt, in one row: mean of the words' states and EOS', of padding's, and a constant."""
    places = torch.arange(hidden.shape[1])
    masks = ((places > 0) & (places <= ends[:, None]), places > ends[:, None])
    means = [(hidden.double() * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1) for mask in masks]
    return torch.cat([*means, torch.ones(len(hidden), 1, dtype=torch.float64)], dim=1)


def directions(judge: Judge, prompts: Traced) -> Tensor:
    """``(prompts, judge width)``: from the same prompts about other values, on average, to the prompt itself.

    The product with an embedded image says how much nearer (cosine) the image is to the value than to others.
    """
    return torch.stack(
        [
            judge.embed_texts([text])[0] - judge.embed_texts(others).mean(0)
            for text, others in zip(prompts.texts, prompts.alternatives, strict=True)
        ]
    )


@dataclass(frozen=True)
class LinearJudge:
    """Text space in the judge's terms: a linear map from states to the judge's embedding of the same prompt."""

    matrix: Tensor
    """``(2 width + 1, judge width)``, float64; the last row is the constant."""
    directions: Tensor
    ends: Tensor
    name: str = "judge, linear in text space"
    whole: bool = True

    def rows(self, budget: MemoryBudget) -> int:
        """Any number."""
        return MANY

    def scores(self, states: EncoderStates, samples: Sequence[Sample]) -> Tensor:
        """``(rows,)``"""
        prompts = torch.tensor([sample.prompt for sample in samples])
        embedded = F.normalize(summary(states[0], self.ends[prompts]) @ self.matrix, dim=1)
        return (embedded * self.directions[prompts].to(embedded)).sum(1)


def fit(judge: Judge, hidden: Tensor, ends: Tensor, texts: Sequence[str]) -> Tensor:
    """Ridge regression of the judge's embeddings of ``texts`` on their states ``(n, length, width)``."""
    states, wanted = summary(hidden, ends), judge.embed_texts(texts).double()
    moment = states.T @ states
    moment.diagonal().add_(RIDGE * float(moment.trace()) / len(moment))
    matrix: Tensor = torch.linalg.solve(moment, states.T @ wanted)
    return matrix


@torch.no_grad()
def linear_judge(
    tower: CLIPTextRunner, book: PromptBuilder, judge: Judge, prompts: Traced, removals: Sequence[ResolvedRemoval] = ()
) -> LinearJudge:
    """The read-out, fitted on the traced prompts and on prompts of everything that no removal names."""
    kept = book.tokenize_all(book.retain_texts(book.retain_phrases(removals), FIT_PROMPTS))
    ids = torch.cat([prompts.ids, torch.stack([prompt.ids for prompt in kept])])
    ends = torch.cat([prompts.ends, torch.tensor([prompt.eos for prompt in kept])])
    states = run(tower, tower.embed(ids)).states
    matrix = fit(judge, states, ends, [*prompts.texts, *(prompt.text for prompt in kept)])
    return LinearJudge(matrix, directions(judge, prompts), prompts.ends)
