"""How much a prompt's states look like the concept's: which candidates of an attack are worth an image.

A prompt is summed up by its state at EOS and the mean over its padding, the two that carry what a whole prompt is about. The
likeness is a linear discriminant (Fisher 1936, shrunk) between the base model's prompts about the concept and about other
things, scaled so that the former are 1 and the latter 0 on average.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editor.judging.attacks.context import AttackContext, ModelVariant
from editor.prompts.templates import evenly_spaced

MAX_CONCEPT_PROMPTS, MAX_OTHER_PROMPTS = 48, 240
"""Prompts about the concept, and about other things."""
SHRINKAGE = 0.1
"""Share of the mean variance added to every direction's."""


def summarize_states(states: Tensor, ids: Tensor, end: int) -> Tensor:
    """``(n, length, d)`` -> ``(n, 2 d)``: the state at the first EOS, and the mean of those after it."""
    place = torch.arange(ids.shape[1])
    ends = (ids == end).int().argmax(1, keepdim=True)
    padding = (place > ends).float()[..., None]
    mean = (states * padding).sum(1) / padding.sum(1).clamp(min=1)
    return torch.cat([states[torch.arange(len(states)), ends[:, 0]], mean], dim=1)


def fisher_discriminant(own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """``(n, d)``, ``(m, d)`` -> weights ``(d,)`` and bias: 1 at the mean of the first, 0 at the mean of the second."""
    own, other = own.double(), other.double()
    within = torch.cat([own - own.mean(0), other - other.mean(0)])
    spread = within.T @ within / len(within)
    floor = SHRINKAGE * spread.diagonal().mean() * torch.eye(len(spread), dtype=spread.dtype)
    apart = own.mean(0) - other.mean(0)
    weights = torch.linalg.solve(spread + floor, apart)
    weights = weights / (weights @ apart)
    return weights, -other.mean(0) @ weights


@dataclass(frozen=True)
class ConceptDiscriminant:
    """The concept's discriminant in text space."""

    end: int
    weights: Tensor
    bias: Tensor

    def score(self, states: Tensor, ids: Tensor) -> Tensor:
        """``(n, length, d)`` states of ``(n, length)`` ids -> ``(n,)``."""
        return summarize_states(states, ids, self.end).double() @ self.weights + self.bias

    @torch.no_grad()
    def rank(self, variant: ModelVariant, prompts: Sequence[str]) -> list[tuple[str, float]]:
        """The prompts by how like the concept a variant reads them, most first."""
        if not prompts:
            return []
        pairs = zip(
            prompts, self.score(variant.encode_prompts(prompts), variant.book.token_ids(prompts)).tolist(), strict=True
        )
        return sorted(pairs, key=lambda pair: -pair[1])


def concept_discriminant(context: AttackContext) -> ConceptDiscriminant:
    """Measured on the base model, once."""
    found: ConceptDiscriminant = context.get_or_compute("likeness", lambda: fit_concept_discriminant(context))
    return found


def fit_concept_discriminant(context: AttackContext) -> ConceptDiscriminant:
    """From prompts about the concept and about other things."""
    end = int(context.book.tokenizer.eos_token_id)
    sides = (
        [phrase.text() for phrase in evenly_spaced(phrases, limit)]
        for phrases, limit in (
            (context.concept_prompts, MAX_CONCEPT_PROMPTS),
            (context.other_prompts, MAX_OTHER_PROMPTS),
        )
    )
    return ConceptDiscriminant(
        end,
        *fisher_discriminant(
            *(summarize_states(context.before.encode_prompts(t), context.book.token_ids(t), end) for t in sides)
        ),
    )
