"""Concepts, their destinations, and the phrases that name them."""

import re
from dataclasses import dataclass, replace
from typing import Literal, TypedDict

from api_schemas.kinds import ConceptKind as ConceptKind
from editor.prompts.profile import Profile

DestinationSource = Literal["replacement", "auto", "generic", "null"]
ARTICLES = ("a ", "an ", "the ")


def without_article(phrase: str) -> str:
    """``"a fox"`` -> ``"fox"``."""
    return next((phrase[len(a) :] for a in ARTICLES if phrase.lower().startswith(a)), phrase)


def with_article(phrase: str) -> str:
    """``"owl"`` -> ``"an owl"``; a phrase that already has an article keeps it."""
    if without_article(phrase) != phrase:
        return phrase
    sounds_like_a_vowel = phrase[:1].lower() in "aeio" or phrase.lower().startswith(("umb", "und", "ug"))
    return f"{'an' if sounds_like_a_vowel else 'a'} {phrase}"


@dataclass(frozen=True)
class Concept:
    """A concept to remove."""

    name: str
    kind: ConceptKind = "object"

    @property
    def subject(self) -> str:
        """The name as prompts use it; its last token is the last subject token.

        An object's is without article, a style's without the word "style". The Beatles keep their article.
        """
        if self.kind == "object":
            return without_article(self.name)
        return without_style(self.name) if self.kind == "style" else self.name


def takes_article(kind: ConceptKind, words: str) -> bool:
    """Whether prompts put an article before words of a kind: not before names and unsafe content, but before "woman"."""
    return kind in ("object", "style") or (kind != "unsafe" and not words[:1].isupper())


def without_style(phrase: str) -> str:
    """``"ink style"`` and ``"the style of ink"`` -> ``"ink"``."""
    return phrase.removeprefix("the ").removeprefix("style of ").removesuffix(" style")


@dataclass(frozen=True)
class Destination:
    """What the concept's prompts are mapped to. Empty ``words`` are the null concept."""

    words: str
    source: DestinationSource


def choose_destination(concept: Concept, replacement: str | None, generic: str | None, profile: Profile) -> Destination:
    """Return the replacement if there is one, else the generic class, else the null concept.

    The null concept of an object leaves its prompt's style and surroundings. A style without a replacement falls back to the
    style that the profile names for it, else to the profile's default style, the one that the model generates when a prompt
    names none; naming it keeps every word at its position. If that is the style to remove, the next style of the profile is
    used. Without a default style, the style is left out of the prompt.
    """
    if replacement:
        return Destination(replacement, "replacement")
    if parent := profile_class(concept, profile) if generic == "auto" else generic:
        return Destination(parent, "generic")
    if concept.kind == "style" and profile.default_style:
        nearest = profile.style_replacements.get(concept.subject, profile.default_style)
        candidates = (nearest, profile.default_style, *profile.styles)
        return Destination(next(style for style in candidates if style != concept.subject), "generic")
    return Destination("", "null")


def profile_class(concept: Concept, profile: Profile) -> str | None:
    """Return the class that a profile has for an object: the generic class ``auto``. None if it has none."""
    return profile.parent_of(concept.subject) if concept.kind == "object" else None


class Surroundings(TypedDict):
    """What precedes and follows a wording."""

    prefix: str
    suffix: str


@dataclass(frozen=True)
class Phrase:
    """A prompt about an object, optionally in a style: a wording with a prefix and a suffix."""

    wording: str
    object: str
    style: str = ""
    suffix: str = ""
    prefix: str = ""
    verbatim: bool = False
    """Whether the object is inserted as it is, because it takes no article."""

    def about(self, kind: ConceptKind, name: str) -> "Phrase":
        """Return the phrase about another style, or about another thing of any other kind."""
        return replace(self, style=name) if kind == "style" else replace(self, object=name)

    @property
    def surroundings(self) -> str:
        """The text without the object and the style."""
        return re.sub(r"\{\w+\}", " ", self.prefix + self.wording + self.suffix)

    def text(self) -> str:
        """Return the prompt. Without a style, the part of the wording that names it is left out."""
        wording = self.wording if self.style else strip_style(self.wording)
        subject = self.object
        a, bare = (subject, subject) if self.verbatim else (with_article(subject), without_article(subject))
        return self.prefix + wording.format(a=a, bare=bare, style=self.style) + self.suffix


@dataclass(frozen=True)
class WeightedPhrase:
    """A phrase to edit."""

    phrase: Phrase
    weight: float = 1.0
    """Weight relative to all prompts of the concept's own name together."""


@dataclass(frozen=True)
class Substitution:
    """A name that a prompt mentions, and what it becomes; empty for the null concept."""

    name: str
    words: str


@dataclass(frozen=True)
class ResolvedRemoval:
    """A concept to remove, its destination, its other names, and names to preserve in addition to the profile's."""

    concept: Concept
    destination: Destination
    aliases: tuple[str, ...] = ()
    preserve: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    """Titles of works."""
    translations: tuple[str, ...] = ()
    spellings: Literal["auto"] | tuple[str, ...] = ()
    """``auto`` generates spelling variants; otherwise exactly these are used."""
    exclude: tuple[str, ...] = ()
    """Names that :func:`~editor.prompts.expand_names` leaves out."""
    exclude_prompts: frozenset[str] = frozenset()
    """Prompts that are not edited."""
    reserved_names: tuple[str, ...] = ()
    """Other names in the request, which a generated spelling must not equal."""
    candidates: tuple[str, ...] = ()
    """Names of which the first that nobody removes becomes the destination, best first; empty once it is chosen."""
    weight: float = 1.0
    """Weight of all its prompts, relative to other removals."""
    phrases: tuple[WeightedPhrase, ...] = ()
    """Phrases with one of its names that are edited in addition to the profile's contexts."""
    composed: tuple[Substitution, ...] = ()
    """What other active removals make of the objects in a style's prompts, or of the styles in an object's."""

    @property
    def names(self) -> tuple[str, ...]:
        """The concept's subject and its aliases, which a judge may recognise."""
        return (self.concept.subject, *self.aliases)

    @property
    def given_names(self) -> tuple[str, ...]:
        """Every name in the request; generated spellings are not included."""
        return (*self.names, *self.titles, *self.translations, *(() if self.spellings == "auto" else self.spellings))


STYLE_PARTS = (" in the style of {style}", " in the {style} style", " by {style}", ", art in the {style} style",
               ", {style} style", ", {style}", "{style} style ", "{style} ")  # fmt: skip


def strip_style(wording: str) -> str:
    """Remove the part of a wording that names a style: ``"{a}, {style}"`` -> ``"{a}"``."""
    for part in STYLE_PARTS:
        wording = wording.replace(part, "")
    return wording.replace("a emoji", "an emoji").replace("a image", "an image")
