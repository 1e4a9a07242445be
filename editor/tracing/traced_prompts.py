"""The prompts of a trace: prompts that name one value of an attribute, and the same prompts about other values."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any, Literal

import torch
from torch import Tensor

from api_schemas.kinds import prompt_slot
from editor.errors import ConceptError
from editor.prompts import Profile, PromptBuilder
from editor.prompts.concepts import ConceptKind, Phrase
from editor.prompts.templates import evenly_spaced

Attribute = ConceptKind | Literal["background"]
Padding = Literal["together", "each"]
MAX_ALTERNATIVES = 24
"""Number of other values that a prompt is compared with."""
ROLES = ("earlier subject", "last subject", "next", "further", "EOS", "padding")


@dataclass(frozen=True)
class TokenGroup:
    """One token, or several that are restored together."""

    label: str
    mask: Tensor
    """``(prompts, context)`` bool; the row of a prompt without such a token is empty."""


@dataclass(frozen=True)
class TracedPrompts:
    """Prompts that name one value of an attribute."""

    attribute: Attribute
    name: str
    texts: tuple[str, ...]
    alternatives: tuple[tuple[str, ...], ...]
    """For each prompt, the same prompt about other values."""
    ids: Tensor
    """``(prompts, context)``"""
    eos_positions: Tensor
    """``(prompts,)``"""
    spans: Tensor
    """``(prompts, context)`` bool: the tokens that name the value."""

    @property
    def last_subject(self) -> Tensor:
        """Position of the last token that names the value, ``(prompts,)``."""
        positions = torch.arange(self.ids.shape[1])
        return torch.where(self.spans, positions, -1).amax(1)


def select_phrases(prompt_builder: PromptBuilder, attribute: Attribute, name: str, limit: int) -> list[Phrase]:
    """Return phrases that name a value, spread over wordings, styles and backgrounds.

    Raises:
        ConceptError: the model's profile has no such background.
    """
    if attribute == "background":
        phrases = list(background_phrases(prompt_builder, find_background_suffix(prompt_builder, name)))
    else:
        phrases = [phrase for phrase in prompt_builder.contexts(attribute, name) if not phrase.prefix]
    return evenly_spaced([phrase for phrase in phrases if prompt_builder.fits(phrase.text())], limit)


def background_phrases(prompt_builder: PromptBuilder, suffix: str) -> Iterator[Phrase]:
    """Yield every object on this background, cycling through wordings and styles."""
    wordings, styles = cycle(prompt_builder.profile.styled_wordings), cycle(prompt_builder.profile.styles)
    for name in prompt_builder.profile.object_names:
        yield Phrase(next(wordings), name, next(styles), suffix)


def find_background_suffix(prompt_builder: PromptBuilder, name: str) -> str:
    """Return the profile's suffix that names a background."""
    for suffix in prompt_builder.profile.suffixes:
        if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", suffix):
            return suffix
    raise ConceptError(
        f"The model's profile has no background called {name!r}.",
        field="concept",
        remedy="Name one of its suffixes: " + ", ".join(s.strip() for s in prompt_builder.profile.suffixes if s) + ".",
    )


def phrases_about_others(prompt_builder: PromptBuilder, attribute: Attribute, phrase: Phrase) -> list[Phrase]:
    """Return the same phrase about other objects, styles or backgrounds of the profile."""
    field = "suffix" if attribute == "background" else prompt_slot(attribute)
    value, verbatim = getattr(phrase, field), phrase.verbatim
    known = other_values(prompt_builder.profile, attribute)
    others = evenly_spaced([other for other in known if other.lower() != value.lower()], MAX_ALTERNATIVES)
    return [replace(phrase, **{field: other}, verbatim=verbatim and other[:1].isupper()) for other in others]


def other_values(profile: Profile, attribute: Attribute) -> tuple[str, ...]:
    """Return the values of an attribute that the profile lists; objects if it has none of a kind."""
    if attribute == "background":
        return profile.suffixes
    return profile.names_of(attribute) or profile.object_names


def make_traced_prompts(prompt_builder: PromptBuilder, attribute: Attribute, name: str, limit: int) -> TracedPrompts:
    """Build at most ``limit`` prompts that name a value of an attribute.

    Raises:
        ConceptError: no such prompt exists, or none fits the context.
    """
    phrases = select_phrases(prompt_builder, attribute, name, limit)
    if not phrases:
        raise ConceptError(
            f"No prompt about {name!r} fits the model's context of {prompt_builder.context_length} tokens.",
            field="concept",
            remedy="Shorten the concept.",
        )
    others = [tuple(p.text() for p in phrases_about_others(prompt_builder, attribute, phrase)) for phrase in phrases]
    return tokenize_prompts(prompt_builder, attribute, name, [phrase.text() for phrase in phrases], others)


def tokenize_prompts(
    prompt_builder: PromptBuilder,
    attribute: Attribute,
    name: str,
    texts: Sequence[str],
    alternatives: Sequence[tuple[str, ...]],
) -> TracedPrompts:
    """Tokenize prompts, and locate the value's tokens in each."""
    tokenised = prompt_builder.tokenize_all(texts)
    return TracedPrompts(
        attribute,
        name,
        tuple(texts),
        tuple(alternatives),
        torch.stack([prompt.ids for prompt in tokenised]),
        torch.tensor([prompt.eos for prompt in tokenised]),
        torch.stack([subject_mask(prompt_builder, text, name) for text in texts]),
    )


def subject_mask(prompt_builder: PromptBuilder, text: str, subject: str) -> Tensor:
    """Return the tokens of the last occurrence of ``subject``, ``(context,)`` bool."""
    first, last = prompt_builder.subject_span(text, subject)
    return position_mask(prompt_builder.context_length, first, last + 1)[0]


def role_groups(prompts: TracedPrompts) -> list[TokenGroup]:
    """Return token groups that all prompts have in common: the roles of ROME (Meng et al. 2022, fig. 1), and padding."""
    positions = torch.arange(prompts.ids.shape[1])
    last, eos = prompts.last_subject[:, None], prompts.eos_positions[:, None]
    masks = (
        prompts.spans & (positions < last),
        positions == last,
        (positions == last + 1) & (positions < eos),
        (positions > last + 1) & (positions < eos),
        positions == eos,
        positions > eos,
    )
    return [TokenGroup(label, mask) for label, mask in zip(ROLES, masks, strict=True)]


def last_subject_group(prompts: TracedPrompts) -> TokenGroup:
    """Return the group of the last subject token."""
    return role_groups(prompts)[ROLES.index("last subject")]


def single_token_groups(
    prompt_builder: PromptBuilder, prompts: TracedPrompts, padding: Padding = "together"
) -> list[TokenGroup]:
    """Return one group for each token of a single prompt. Padding is one group, unless asked for ``each`` position."""
    eos, context = int(prompts.eos_positions[0]), prompts.ids.shape[1]
    words = [readable_token(prompt_builder.tokenizer, int(i)) for i in prompts.ids[0, 1:eos]]
    labels = ["BOS", *words, "EOS"]
    groups = [TokenGroup(label, position_mask(context, i, i + 1)) for i, label in enumerate(labels)]
    if padding == "each":
        return groups + [TokenGroup(f"padding {i}", position_mask(context, i, i + 1)) for i in range(eos + 1, context)]
    return [*groups, TokenGroup("padding", position_mask(context, eos + 1, context))]


def position_mask(context: int, start: int, stop: int) -> Tensor:
    """Return a mask of the positions from ``start`` up to but excluding ``stop``, ``(1, context)`` bool."""
    positions = torch.arange(context)
    return ((positions >= start) & (positions < stop))[None]


def readable_token(tokenizer: Any, token: int) -> str:
    """Return a token's text without the tokenizer's end-of-word mark."""
    return str(tokenizer.convert_ids_to_tokens(token)).removesuffix("</w>")
