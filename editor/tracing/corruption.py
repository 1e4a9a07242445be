"""Corrupted embeddings of the tokens that name a value: noise, or another value's tokens. All else stays clean."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from editor.errors import ConceptError
from editor.generation.clip_runner import CLIPTextRunner
from editor.prompts import PromptBuilder
from editor.tracing.traced_prompts import Attribute, Traced

Corruption = Literal["noise", "swap"]
NOISE = 3.0
"""Standard deviations of the embeddings of such tokens (Meng et al. 2022, appendix B.1)."""
PRIME = 1_000_003


@dataclass(frozen=True)
class Sample:
    """One clean, corrupted and restored run: a prompt, a draw of the corruption and the seed of an image."""

    prompt: int
    draw: int
    seed: int = 0


def samples_of(prompts: int, draws: int, seeds: Sequence[int] = (0,)) -> list[Sample]:
    """Prompt after prompt."""
    return [Sample(p, d, s) for p in range(prompts) for d in range(draws) for s in seeds]


def deviation(tower: CLIPTextRunner, ids: Tensor, spans: Tensor) -> float:
    """Standard deviation over all entries of the embeddings of the marked tokens."""
    return float(tower.embed(ids)[spans].float().std())


def noisy(tower: CLIPTextRunner, prompts: Traced, samples: Sequence[Sample], sigma: float, seed: int) -> Tensor:
    """``(samples, context, width)``: Gaussian noise of deviation ``sigma`` on the span.

    The noise depends on seed, prompt and draw alone: neither batches nor the length that is computed change it.
    """
    clean = tower.embed(prompts.ids)
    rows = [clean[s.prompt] + sigma * noise(clean.shape[1:], s, seed).to(clean) for s in samples]
    return torch.where(spans_of(prompts, samples), torch.stack(rows), clean[index(samples)])


def noise(shape: Sequence[int], sample: Sample, seed: int) -> Tensor:
    """Standard normal."""
    generator = torch.Generator().manual_seed(seed * PRIME**2 + sample.prompt * PRIME + sample.draw)
    return torch.randn(tuple(shape), generator=generator)


def swapped(tower: CLIPTextRunner, prompts: Traced, samples: Sequence[Sample], donors: Sequence[Tensor]) -> Tensor:
    """``(samples, context, width)``: the span's tokens are those of a donor, one donor a draw."""
    ids = prompts.ids[index(samples)].clone()
    for row, sample in zip(ids, samples, strict=True):
        marked = prompts.spans[sample.prompt]
        row[marked] = donors[sample.draw % len(donors)].to(row)
    return tower.embed(ids)


def donors_for(book: PromptBuilder, attribute: Attribute, prompts: Traced, draws: int) -> list[Tensor]:
    """Tokens of other values that are as many as the span's, so that every later word keeps its place.

    Raises:
        ConceptError: no other value of the profile has as many tokens.
    """
    wanted = int(prompts.spans[0].sum())
    found = [torch.tensor(bare_tokens(book, other)) for other in names(book, attribute, prompts.name)]
    fitting = [ids for ids in found if len(ids) == wanted]
    if not fitting:
        raise ConceptError(
            f"No other {attribute} that the model's profile names takes {wanted} tokens, as {prompts.name!r} does.",
            field="concept",
            remedy="Corrupt by noise instead.",
        )
    step = max(1, len(fitting) // draws)
    return fitting[::step][:draws]


def bare_tokens(book: PromptBuilder, name: str) -> list[int]:
    """A name's tokens without BOS and EOS."""
    return list(book.tokenizer(name)["input_ids"])[1:-1]


def names(book: PromptBuilder, attribute: Attribute, name: str) -> list[str]:
    """Other values of the attribute, by the words that name them."""
    profile = book.profile
    if attribute == "background":
        known = sorted(
            {word for suffix in profile.suffixes for word in suffix.split()} - shared_words(profile.suffixes)
        )
    else:
        known = list(profile.object_names if attribute == "object" else profile.styles)
    return [other for other in known if other.lower() != name.lower()]


def shared_words(suffixes: Sequence[str]) -> set[str]:
    """Words that every suffix has: what is left names the background."""
    return set.intersection(*(set(suffix.split()) for suffix in suffixes if suffix))


def index(samples: Sequence[Sample]) -> Tensor:
    """``(samples,)``: each sample's prompt."""
    return torch.tensor([sample.prompt for sample in samples])


def spans_of(prompts: Traced, samples: Sequence[Sample]) -> Tensor:
    """``(samples, context, 1)`` bool."""
    return prompts.spans[index(samples)][:, :, None]
