"""Corrupt the embeddings of the tokens that name a value, by noise or by another value's tokens; keep all others clean."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from editor.errors import ConceptError
from editor.generation.clip_runner import CLIPTextRunner
from editor.prompts import PromptBuilder
from editor.tracing.traced_prompts import Attribute, TracedPrompts, other_values

Corruption = Literal["noise", "swap"]
NOISE_SCALE = 3.0
"""Noise level in standard deviations of the corrupted tokens' embeddings (Meng et al. 2022, appendix B.1)."""
SEED_STRIDE = 1_000_003


@dataclass(frozen=True)
class Sample:
    """One clean, corrupted and restored run: indices of a prompt and of a corruption draw, and the seed of an image."""

    prompt: int
    draw: int
    seed: int = 0


def make_samples(prompts: int, draws: int, seeds: Sequence[int] = (0,)) -> list[Sample]:
    """Return all combinations, ordered by prompt."""
    return [Sample(p, d, s) for p in range(prompts) for d in range(draws) for s in seeds]


def embedding_std(encoder: CLIPTextRunner, ids: Tensor, spans: Tensor) -> float:
    """Return the standard deviation over all entries of the marked tokens' embeddings."""
    return float(encoder.embed(ids)[spans].float().std())


def add_noise(
    encoder: CLIPTextRunner, prompts: TracedPrompts, samples: Sequence[Sample], sigma: float, seed: int
) -> Tensor:
    """Return embeddings ``(samples, context, width)`` with Gaussian noise of deviation ``sigma`` on the spans.

    The noise depends on seed, prompt and draw only, not on batches or on the number of positions that are computed.
    """
    clean = encoder.embed(prompts.ids)
    rows = [clean[s.prompt] + sigma * standard_normal(clean.shape[1:], s, seed).to(clean) for s in samples]
    spans = sample_spans(prompts, samples).to(clean.device)
    return torch.where(spans, torch.stack(rows), clean[prompt_indices(samples)])


def standard_normal(shape: Sequence[int], sample: Sample, seed: int) -> Tensor:
    """Draw standard normal noise for a sample."""
    generator = torch.Generator().manual_seed(seed * SEED_STRIDE**2 + sample.prompt * SEED_STRIDE + sample.draw)
    return torch.randn(tuple(shape), generator=generator)


def swap_tokens(
    encoder: CLIPTextRunner, prompts: TracedPrompts, samples: Sequence[Sample], donors: Sequence[Tensor]
) -> Tensor:
    """Return embeddings ``(samples, context, width)`` with a donor's tokens in the spans, one donor per draw."""
    ids = prompts.ids[prompt_indices(samples)].clone()
    for row, sample in zip(ids, samples, strict=True):
        span = prompts.spans[sample.prompt]
        row[span] = donors[sample.draw % len(donors)].to(row)
    return encoder.embed(ids)


def find_donor_tokens(
    prompt_builder: PromptBuilder, attribute: Attribute, prompts: TracedPrompts, draws: int
) -> list[Tensor]:
    """Return the tokens of other values with the span's number of tokens, so that later words keep their positions.

    Raises:
        ConceptError: no other value of the profile has that number of tokens.
    """
    length = int(prompts.spans[0].sum())
    candidates = [
        torch.tensor(name_tokens(prompt_builder, other))
        for other in other_names(prompt_builder, attribute, prompts.name)
    ]
    donors = [ids for ids in candidates if len(ids) == length]
    if not donors:
        raise ConceptError(
            f"The model's profile has no other {attribute} of {length} tokens to swap with {prompts.name!r}.",
            field="concept",
            remedy="Corrupt by noise instead.",
        )
    step = max(1, len(donors) // draws)
    return donors[::step][:draws]


def name_tokens(prompt_builder: PromptBuilder, name: str) -> list[int]:
    """Return a name's tokens without BOS and EOS."""
    return prompt_builder.tokenizer_cache.encode([name])[0].ids[1:-1]


def other_names(prompt_builder: PromptBuilder, attribute: Attribute, name: str) -> list[str]:
    """Return the names of the attribute's other values."""
    profile = prompt_builder.profile
    if attribute == "background":
        known = sorted(
            {word for suffix in profile.suffixes for word in suffix.split()} - shared_words(profile.suffixes)
        )
    else:
        known = list(other_values(profile, attribute))
    return [other for other in known if other.lower() != name.lower()]


def shared_words(suffixes: Sequence[str]) -> set[str]:
    """Return the words that all suffixes contain; a suffix's other words name its background."""
    return set.intersection(*(set(suffix.split()) for suffix in suffixes if suffix))


def prompt_indices(samples: Sequence[Sample]) -> Tensor:
    """Return each sample's prompt, ``(samples,)``."""
    return torch.tensor([sample.prompt for sample in samples])


def sample_spans(prompts: TracedPrompts, samples: Sequence[Sample]) -> Tensor:
    """Return each sample's span, ``(samples, context, 1)`` bool."""
    return prompts.spans[prompt_indices(samples)][:, :, None]
