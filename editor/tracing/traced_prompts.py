"""What is traced: prompts about one value of an attribute, where they name it, and the same prompts about other values."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any, Literal

import torch
from torch import Tensor

from editor.errors import ConceptError
from editor.prompts import PromptBuilder
from editor.prompts.concepts import Phrase
from editor.prompts.templates import evenly_spaced

Attribute = Literal["object", "style", "background"]
Padding = Literal["together", "each"]
ALTERNATIVES = 24
"""Other values that a prompt is compared with, at most."""
ROLES = ("earlier subject", "last subject", "next", "further", "EOS", "padding")


@dataclass(frozen=True)
class Place:
    """One token, or several that are restored together."""

    label: str
    mask: Tensor
    """``(prompts, context)`` bool; a prompt without such a token has an empty row."""


@dataclass(frozen=True)
class Traced:
    """Prompts that name one value of an attribute."""

    attribute: Attribute
    name: str
    texts: tuple[str, ...]
    alternatives: tuple[tuple[str, ...], ...]
    """For each prompt, the same about other values."""
    ids: Tensor
    """``(prompts, context)``"""
    ends: Tensor
    """``(prompts,)``: position of EOS."""
    spans: Tensor
    """``(prompts, context)`` bool: the tokens that name the value."""

    @property
    def last(self) -> Tensor:
        """``(prompts,)``: position of the last token that names the value."""
        places = torch.arange(self.ids.shape[1])
        return torch.where(self.spans, places, -1).amax(1)


def phrases_of(book: PromptBuilder, attribute: Attribute, name: str, limit: int) -> list[Phrase]:
    """Phrases that name a value, spread over wordings, styles and backgrounds.

    Raises:
        ConceptError: the model's profile has no wording about such a background.
    """
    if attribute == "background":
        phrases = list(background_phrases(book, suffix_about(book, name)))
    else:
        phrases = [phrase for phrase in book.contexts(attribute, name) if not phrase.prefix]
    return evenly_spaced([phrase for phrase in phrases if book.fits(phrase.text())], limit)


def background_phrases(book: PromptBuilder, suffix: str) -> Iterator[Phrase]:
    """Objects before this background; wordings and styles take turns."""
    wordings, styles = cycle(book.profile.styled_wordings), cycle(book.profile.styles)
    for thing in book.profile.object_names:
        yield Phrase(next(wordings), thing, next(styles), suffix)


def suffix_about(book: PromptBuilder, name: str) -> str:
    """The profile's suffix that names a background."""
    for suffix in book.profile.suffixes:
        if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", suffix):
            return suffix
    raise ConceptError(
        f"The model's profile has no background called {name!r}.",
        field="concept",
        remedy="Name one of its suffixes: " + ", ".join(s.strip() for s in book.profile.suffixes if s) + ".",
    )


def other_values(book: PromptBuilder, attribute: Attribute, phrase: Phrase) -> list[Phrase]:
    """The same phrase about other objects, styles or backgrounds of the profile."""
    profile, field = book.profile, "suffix" if attribute == "background" else attribute
    value = getattr(phrase, field)
    known = {"object": profile.object_names, "style": profile.styles, "background": profile.suffixes}[attribute]
    others = evenly_spaced([other for other in known if other.lower() != value.lower()], ALTERNATIVES)
    return [replace(phrase, **{field: other}) for other in others]


def trace_prompts(book: PromptBuilder, attribute: Attribute, name: str, limit: int) -> Traced:
    """At most ``limit`` prompts that name a value of an attribute.

    Raises:
        ConceptError: there is none, or none fits the context.
    """
    phrases = phrases_of(book, attribute, name, limit)
    if not phrases:
        raise ConceptError(
            f"No prompt about {name!r} fits the {book.context_length} tokens that the model reads.",
            field="concept",
            remedy="Shorten the concept.",
        )
    others = [tuple(p.text() for p in other_values(book, attribute, phrase)) for phrase in phrases]
    return traced(book, attribute, name, [phrase.text() for phrase in phrases], others)


def traced(
    book: PromptBuilder, attribute: Attribute, name: str, texts: Sequence[str], alternatives: Sequence[tuple[str, ...]]
) -> Traced:
    """Tokenise prompts, and find the value in each."""
    tokenised = book.tokenize_all(texts)
    return Traced(
        attribute,
        name,
        tuple(texts),
        tuple(alternatives),
        torch.stack([prompt.ids for prompt in tokenised]),
        torch.tensor([prompt.eos for prompt in tokenised]),
        torch.stack([span(book, text, name) for text in texts]),
    )


def span(book: PromptBuilder, text: str, subject: str) -> Tensor:
    """``(context,)`` bool: the tokens of the last occurrence of ``subject``."""
    first, last = book.subject_span(text, subject)
    return at(book.context_length, first, last + 1)[0]


def roles(prompts: Traced) -> list[Place]:
    """Places that every prompt has in common, by their role: ROME's (Meng et al. 2022, fig. 1), and padding."""
    places, last, ends = torch.arange(prompts.ids.shape[1]), prompts.last[:, None], prompts.ends[:, None]
    masks = (
        prompts.spans & (places < last),
        places == last,
        (places == last + 1) & (places < ends),
        (places > last + 1) & (places < ends),
        places == ends,
        places > ends,
    )
    return [Place(label, mask) for label, mask in zip(ROLES, masks, strict=True)]


def last_subject(prompts: Traced) -> Place:
    """The one place of the job's own trace."""
    return roles(prompts)[ROLES.index("last subject")]


def every_token(book: PromptBuilder, prompts: Traced, padding: Padding = "together") -> list[Place]:
    """Each token of one prompt; padding, which a reader can't tell apart, as one place unless asked for ``each``."""
    end, context = int(prompts.ends[0]), prompts.ids.shape[1]
    words = [readable(book.tokenizer, int(i)) for i in prompts.ids[0, 1:end]]
    labels = ["BOS", *words, "EOS"]
    single = [Place(label, at(context, i, i + 1)) for i, label in enumerate(labels)]
    if padding == "each":
        return single + [Place(f"padding {i}", at(context, i, i + 1)) for i in range(end + 1, context)]
    return [*single, Place("padding", at(context, end + 1, context))]


def at(context: int, start: int, stop: int) -> Tensor:
    """``(1, context)`` bool: the positions from ``start`` to before ``stop``."""
    places = torch.arange(context)
    return ((places >= start) & (places < stop))[None]


def readable(tokenizer: Any, token: int) -> str:
    """A token as a reader writes it."""
    return str(tokenizer.convert_ids_to_tokens(token)).removesuffix("</w>")
