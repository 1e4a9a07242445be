"""Concept score of prompts in text space, by which attacks choose the candidates that are worth an image.

A prompt is summarised by its hidden state at EOS and the mean over its padding, the two that carry the content of a whole
prompt. The score is a linear discriminant (Fisher 1936, with shrinkage) between the base model's prompts about the concept and
about other things, scaled so that the former average 1 and the latter 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editor.judging.attacks.context import AttackContext, ModelVariant
from editor.prompts.concepts import Phrase
from editor.prompts.phrase_samples import sample_varied

MAX_CONCEPT_PROMPTS, MAX_OTHER_PROMPTS = 48, 240
"""Prompts about the concept, and about other things, that the discriminant is fitted on."""
SHRINKAGE = 0.1
"""Share of the mean variance that is added to every direction's variance."""


def summarize_states(states: Tensor, ids: Tensor, end: int) -> Tensor:
    """Summarise states ``(n, length, d)`` as ``(n, 2 d)``: the state at the first EOS, and the mean of those after it."""
    place = torch.arange(ids.shape[1])
    ends = (ids == end).int().argmax(1, keepdim=True)
    padding = (place > ends).float()[..., None]
    mean = (states * padding).sum(1) / padding.sum(1).clamp(min=1)
    return torch.cat([states[torch.arange(len(states)), ends[:, 0]], mean], dim=1)


def fisher_discriminant(own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights ``(d,)`` and bias that score the mean of ``own`` ``(n, d)`` as 1 and that of ``other`` ``(m, d)`` as 0."""
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
    """A linear score of how strongly an encoder's states express the concept."""

    end: int
    weights: Tensor
    bias: Tensor

    def score(self, states: Tensor, ids: Tensor) -> Tensor:
        """Return the score ``(n,)`` of states ``(n, length, d)`` of token ids ``(n, length)``."""
        return summarize_states(states, ids, self.end).double() @ self.weights + self.bias

    @torch.no_grad()
    def rank(self, variant: ModelVariant, prompts: Sequence[str]) -> list[tuple[str, float]]:
        """Return prompts with their scores under a model's encoder, highest first."""
        if not prompts:
            return []
        scores = self.score(variant.encode_prompts(prompts), variant.prompt_builder.token_ids(prompts))
        pairs = zip(prompts, scores.tolist(), strict=True)
        return sorted(pairs, key=lambda pair: -pair[1])


def concept_discriminant(context: AttackContext) -> ConceptDiscriminant:
    """Return the concept's discriminant, which is fitted on the base model when first needed."""
    found: ConceptDiscriminant = context.get_or_compute("likeness", lambda: fit_concept_discriminant(context))
    return found


def fit_concept_discriminant(context: AttackContext) -> ConceptDiscriminant:
    """Fit the discriminant on the base model's prompts about the concept and about other things."""
    end = int(context.prompt_builder.tokenizer.eos_token_id)

    def summaries(phrases: Sequence[Phrase], limit: int) -> Tensor:
        texts = [phrase.text() for phrase in sample_varied(phrases, limit)]
        return summarize_states(context.before.encode_prompts(texts), context.prompt_builder.token_ids(texts), end)

    own = summaries(context.concept_prompts, MAX_CONCEPT_PROMPTS)
    other = summaries(context.other_prompts, MAX_OTHER_PROMPTS)
    return ConceptDiscriminant(end, *fisher_discriminant(own, other))
