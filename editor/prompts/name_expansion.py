"""A removal -> every name that its edit covers, each with where it comes from. Deterministic, so that it can be reviewed."""

from collections.abc import Iterator
from dataclasses import dataclass

from api_schemas.conflicts import normalize_words
from api_schemas.report import NameSource
from editor.prompts.concepts import Concept, Removal
from editor.prompts.profile import Profile
from editor.prompts.spelling_variants import spellings
from editor.prompts.tokenizer_cache import Tokens

SPELLINGS = 12
"""Spellings made of the concept's name, at most."""
ALIAS_SPELLINGS = 4
"""And of each alias."""
SPELLING_WEIGHT = 0.02
"""What a spelling counts beside a name: a dozen of them together must not outvote it. It is enough to reach most of the way,
for nothing is kept that has their tokens."""


@dataclass(frozen=True)
class Name:
    """What a prompt may call the concept."""

    text: str
    source: NameSource

    @property
    def weight(self) -> float:
        """How much it counts beside the concept's own name."""
        return SPELLING_WEIGHT if self.source == "spelling" else 1.0


@dataclass(frozen=True)
class Expansion:
    """All names of a removal, the concept's own first."""

    names: tuple[Name, ...]

    def of(self, *sources: NameSource) -> tuple[str, ...]:
        """The names that come from these sources."""
        return tuple(name.text for name in self.names if name.source in sources)


def expand(removal: Removal, profile: Profile, tokens: Tokens) -> Expansion:
    """The names; of two that read the same, the first. The concept's own name stays whatever is excluded."""
    excluded = {name.casefold() for name in removal.exclude} - {removal.concept.subject.casefold()}
    names: dict[str, Name] = {}
    for name in (*given_names(removal), *made_names(removal, profile, tokens)):
        if name.text.casefold() not in excluded:
            names.setdefault(name.text.casefold(), name)
    return Expansion(tuple(names.values()))


def given_names(removal: Removal) -> Iterator[Name]:
    """What the request says."""
    kind = removal.concept.kind
    yield Name(removal.concept.subject, "concept")
    yield from (Name(Concept(alias, kind).subject, "alias") for alias in removal.aliases)
    yield from (Name(Concept(title).subject, "title") for title in removal.titles)
    yield from (Name(Concept(translation, kind).subject, "translation") for translation in removal.translations)
    if removal.spellings != "auto":
        yield from (Name(Concept(spelling, kind).subject, "spelling") for spelling in removal.spellings)


def made_names(removal: Removal, profile: Profile, tokens: Tokens) -> Iterator[Name]:
    """Spellings by rule, of the concept's name and of its aliases."""
    if removal.spellings != "auto":
        return
    known = (
        *profile.object_names,
        *profile.styles,
        removal.destination.words,
        *removal.preserve,
        *removal.taken,
    )
    taken = {normalize_words(name) for name in known if name} - {normalize_words(name) for name in removal.given}
    limits = [(removal.concept.subject, SPELLINGS), *((alias, ALIAS_SPELLINGS) for alias in removal.aliases)]
    for name, limit in limits:
        subject = Concept(name, removal.concept.kind).subject
        for text in spellings(subject, removal.concept.kind, tokens, taken, limit):
            yield Name(text, "spelling")
