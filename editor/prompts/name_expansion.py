"""Expand a removal into every name that its edit covers, with the source of each. Deterministic, so it can be reviewed."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from api_schemas.conflicts import Words, normalize_words
from api_schemas.report import NameSource
from editor.prompts.concepts import Concept, ResolvedRemoval
from editor.prompts.profile import Profile
from editor.prompts.spelling_variants import other_number, spelling_variants
from editor.prompts.tokenizer_cache import TokenizerCache

MAX_SPELLINGS = 12
"""Generated spellings of the concept's name."""
MAX_ALIAS_SPELLINGS = 4
"""Generated spellings of each alias."""
SPELLING_WEIGHT = 0.02
"""Weight of a spelling relative to a name: a dozen spellings together must not outvote the name."""
PLURAL_WEIGHT = 0.05
"""Weight of a plural or singular. People use it as often, but 0.1 cost the retained images of the embedded model more than it
gained; plurals that are less far gone than the concept are listed as uncovered."""
GENERATED_WEIGHTS: dict[NameSource, float] = {"plural": PLURAL_WEIGHT, "spelling": SPELLING_WEIGHT}


@dataclass(frozen=True)
class ConceptName:
    """A name of the concept in a prompt."""

    text: str
    source: NameSource

    @property
    def weight(self) -> float:
        """Weight relative to the concept's own name."""
        return GENERATED_WEIGHTS.get(self.source, 1.0)


@dataclass(frozen=True)
class NameExpansion:
    """All names of a removal, the concept's own first."""

    names: tuple[ConceptName, ...]

    def from_sources(self, *sources: NameSource) -> tuple[str, ...]:
        """Return the names from these sources."""
        return tuple(name.text for name in self.names if name.source in sources)


def expand_names(removal: ResolvedRemoval, profile: Profile, tokenizer: TokenizerCache) -> NameExpansion:
    """Return the names without duplicates and excluded names. The concept's own name cannot be excluded."""
    excluded = {name.casefold() for name in removal.exclude} - {removal.concept.subject.casefold()}
    names: dict[str, ConceptName] = {}
    for name in (*requested_names(removal), *generated_spellings(removal, profile, tokenizer)):
        if name.text.casefold() not in excluded:
            names.setdefault(name.text.casefold(), name)
    return NameExpansion(tuple(names.values()))


def requested_names(removal: ResolvedRemoval) -> Iterator[ConceptName]:
    """Yield the names in the request."""
    kind = removal.concept.kind
    yield ConceptName(removal.concept.subject, "concept")
    yield from (ConceptName(Concept(alias, kind).subject, "alias") for alias in removal.aliases)
    yield from (ConceptName(Concept(title).subject, "title") for title in removal.titles)
    yield from (ConceptName(Concept(translation, kind).subject, "translation") for translation in removal.translations)
    if removal.spellings != "auto":
        yield from (ConceptName(Concept(spelling, kind).subject, "spelling") for spelling in removal.spellings)


@lru_cache(maxsize=8)
def profile_words(names: tuple[str, ...]) -> frozenset[Words]:
    """Return the words of the names of a profile."""
    return frozenset(map(normalize_words, names))


def generated_spellings(removal: ResolvedRemoval, profile: Profile, tokenizer: TokenizerCache) -> Iterator[ConceptName]:
    """Yield generated plurals and spellings of the concept's name and of its aliases."""
    if removal.spellings != "auto":
        return
    others = (removal.destination.words, *removal.preserve, *removal.reserved_names)
    known = profile_words((*profile.object_names, *profile.styles)) | {normalize_words(name) for name in others if name}
    reserved = known - {normalize_words(name) for name in removal.given_names}
    limits = [(removal.concept.subject, MAX_SPELLINGS), *((alias, MAX_ALIAS_SPELLINGS) for alias in removal.aliases)]
    for name, limit in limits:
        subject = Concept(name, removal.concept.kind).subject
        plurals = set(other_number(subject))
        for text in spelling_variants(subject, removal.concept.kind, tokenizer, reserved, limit):
            yield ConceptName(text, "plural" if text in plurals else "spelling")
