"""What a request leaves in the model: the names of a profile that no removal covers, and phrases about them."""

from collections.abc import Iterator, Mapping, Sequence

from api_schemas.conflicts import normalize_words, subsequences
from editor.prompts.concepts import ConceptKind, Phrase, ResolvedRemoval
from editor.prompts.profile import Profile
from editor.prompts.templates import evenly_spaced, named_phrases, object_style_phrases

RETAINED_KINDS: tuple[ConceptKind, ...] = ("object", "style", "person", "character", "brand")
"""Kinds of which other concepts are preserved. Other unsafe content is not."""
NO_LIMITS: Mapping[ConceptKind, int] = {}


def retained_names(profile: Profile, kind: ConceptKind, removals: Sequence[ResolvedRemoval]) -> list[str]:
    """Return the names of a kind that no removal covers, first those that the request asks to preserve.

    A removal of "bear" covers polar bears and all that the profile says are bears, but not bear traps.
    """
    removed = {name.lower() for removal in removals for name in removal.given_names}
    covered = {*profile.members_of(removed)} if kind == "object" else set()
    preserved = [name for name in preserve_names(removals, kind) if name.lower() not in removed]
    listed = (name for name in profile.names_of(kind) if name not in covered)
    return list(
        dict.fromkeys([*preserved, *(name for name in listed if removed.isdisjoint(trailing_words(name.lower())))])
    )


def sample_retained_names(
    profile: Profile, kind: ConceptKind, removals: Sequence[ResolvedRemoval], limit: int | None
) -> list[str]:
    """Return the retained names of a kind, or at most ``limit``, those that the request asks to preserve among them."""
    names, wanted = retained_names(profile, kind, removals), {*preserve_names(removals, kind)}
    if limit is None or len(names) <= limit:
        return names
    preserved = [name for name in names if name in wanted]
    others = [name for name in names if name not in wanted]
    return preserved + evenly_spaced(others, max(limit - len(preserved), 0))


def retain_phrases(
    profile: Profile, removals: Sequence[ResolvedRemoval], limits: Mapping[ConceptKind, int] = NO_LIMITS
) -> tuple[Phrase, ...]:
    """Return every retained object, plain and in every retained style, in surroundings that name nothing removed.

    Retained people, characters and brands follow, then negative prompts. If the default style is removed, prompts that name no
    style are about it too, so they are left out.

    Args:
        profile: lists the names.
        removals: what is not retained.
        limits: most names of a kind, evenly spaced after those that the request asks to preserve.
    """
    names = {kind: sample_retained_names(profile, kind, removals, limits.get(kind)) for kind in RETAINED_KINDS}
    preserved = {name for kind in ("object", "style") for name in preserve_names(removals, kind)}
    phrases = list(object_style_phrases(profile, names["object"], names["style"], preserved))
    for kind in ("person", "character", "brand"):
        phrases += named_phrases(profile, kind, names[kind])
    styles = {removal.concept.subject for removal in removals if removal.concept.kind == "style"}
    if profile.default_style in styles:
        phrases = [phrase for phrase in phrases if phrase.style]
    phrases += (Phrase(text, "") for text in profile.negative_prompts)
    removed = {normalize_words(name) for removal in removals for name in removal.given_names}
    longest = max(map(len, removed), default=0)
    surroundings = {phrase.surroundings for phrase in phrases}
    neutral = {text for text in surroundings if removed.isdisjoint(subsequences(normalize_words(text), longest))}
    return tuple(phrase for phrase in phrases if phrase.surroundings in neutral)


def preserve_names(removals: Sequence[ResolvedRemoval], kind: str) -> list[str]:
    """Return the names to preserve of the removals of one kind."""
    return [name for removal in removals if removal.concept.kind == kind for name in removal.preserve]


def trailing_words(name: str) -> Iterator[str]:
    """Yield a name and what it is a kind of by its last words: "polar bear" -> "polar bear", "bear"."""
    words = name.split()
    return (" ".join(words[start:]) for start in range(len(words)))
