"""Concepts, destinations, and the prompts that name them."""

import re
from dataclasses import dataclass
from typing import Literal

from editor.prompts.profile import Profile

Kind = Literal["object", "style"]
Source = Literal["replacement", "generic", "null"]
ARTICLES = ("a ", "an ", "the ")


def without_article(phrase: str) -> str:
    """``"a fox"`` -> ``"fox"``."""
    return next((phrase[len(a) :] for a in ARTICLES if phrase.lower().startswith(a)), phrase)


def with_article(phrase: str) -> str:
    """``"owl"`` -> ``"an owl"``; a phrase that brings an article keeps it."""
    if without_article(phrase) != phrase:
        return phrase
    sounds_like_a_vowel = phrase[:1].lower() in "aeio" or phrase.lower().startswith(("umb", "und", "ug"))
    return f"{'an' if sounds_like_a_vowel else 'a'} {phrase}"


@dataclass(frozen=True)
class Concept:
    """What is removed."""

    name: str
    kind: Kind = "object"

    @property
    def subject(self) -> str:
        """The words whose last token is the last subject token."""
        return without_article(self.name) if self.kind == "object" else without_style(self.name)


def without_style(phrase: str) -> str:
    """``"ink style"`` and ``"the style of ink"`` -> ``"ink"``."""
    return phrase.removeprefix("the ").removeprefix("style of ").removesuffix(" style")


@dataclass(frozen=True)
class Destination:
    """What the concept's prompts shall mean instead. Empty words are the null concept."""

    words: str
    source: Source


def destination_of(concept: Concept, replacement: str | None, generic: str | None, profile: Profile) -> Destination:
    """The replacement if there is one, else the generic class, else the null concept.

    The null concept of an object is the empty prompt. A style falls back to the one that the model draws when none is named:
    by its name if the profile knows it, which keeps every word in its place, else to the prompt without a style. When that
    is the very style to remove, the next known style takes its place.
    """
    if replacement:
        return Destination(replacement, "replacement")
    if generic:
        return Destination(generic, "generic")
    if concept.kind == "style" and profile.default_style:
        candidates = (profile.default_style, *profile.styles)
        return Destination(next(style for style in candidates if style != concept.subject), "generic")
    return Destination("", "null")


@dataclass(frozen=True)
class Removal:
    """A concept, where its prompts shall lead, its other names, and what to keep beside what the profile names."""

    concept: Concept
    destination: Destination
    aliases: tuple[str, ...] = ()
    preserve: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    """Works known by their own names."""
    translations: tuple[str, ...] = ()
    spellings: Literal["auto"] | tuple[str, ...] = ()
    """Made by rule, or exactly these."""
    exclude: tuple[str, ...] = ()
    """Names that the expansion leaves out."""
    taken: tuple[str, ...] = ()
    """What else the request names: no spelling is made that means one of these."""

    @property
    def names(self) -> tuple[str, ...]:
        """The concept's subject and its aliases: what a judge may recognise."""
        return (self.concept.subject, *self.aliases)

    @property
    def given(self) -> tuple[str, ...]:
        """Every name that was given, made spellings left out."""
        return (*self.names, *self.titles, *self.translations, *(() if self.spellings == "auto" else self.spellings))


@dataclass(frozen=True)
class Phrase:
    """One prompt about an object, perhaps in a style, from a wording and what stands around it."""

    wording: str
    object: str
    style: str = ""
    suffix: str = ""
    prefix: str = ""

    @property
    def around(self) -> str:
        """All of it but the object and the style."""
        return re.sub(r"\{\w+\}", " ", self.prefix + self.wording + self.suffix)

    def text(self) -> str:
        """The prompt itself; without a style, the part of the wording that names it is left out."""
        wording = self.wording if self.style else unstyled(self.wording)
        filled = wording.format(a=with_article(self.object), bare=without_article(self.object), style=self.style)
        return self.prefix + filled + self.suffix


STYLE_PARTS = (" in the style of {style}", " in the {style} style", " by {style}", ", art in the {style} style",
               ", {style} style", ", {style}", "{style} style ", "{style} ")  # fmt: skip


def unstyled(wording: str) -> str:
    """The wording without the part that names a style: ``"{a}, {style}"`` -> ``"{a}"``."""
    for part in STYLE_PARTS:
        wording = wording.replace(part, "")
    return wording.replace("a emoji", "an emoji").replace("a image", "an image")
