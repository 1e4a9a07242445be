"""What a profile suggests for a concept to remove: its class, a replacement of the same group, and neighbours."""

from dataclasses import asdict, dataclass
from typing import Any

from editor.prompts.concepts import Concept
from editor.prompts.profile import Profile
from editor.prompts.tokenizer_cache import TokenizerCache


@dataclass(frozen=True)
class ConceptSuggestion:
    """What a profile knows about a concept. Everything is empty for one that it does not list."""

    concept: str
    kind: str
    group: str | None
    parent: str | None
    """A class that it belongs to, for the request's ``generic``."""
    replacement: str | None
    neighbours: tuple[str, ...]
    """The other names of its group."""

    def record(self) -> dict[str, Any]:
        """Return the fields for JSON output."""
        return asdict(self)


def suggest_for_concept(profile: Profile, tokenizer: TokenizerCache, concept: Concept) -> ConceptSuggestion:
    """Return what the profile suggests for a concept."""
    name, kind = concept.subject, concept.kind
    group = profile.group_of(kind, name)
    members = profile.groups_of(kind)[group] if group else ()
    others = tuple(member for member in members if member.casefold() != name.casefold())
    return ConceptSuggestion(
        concept=name,
        kind=kind,
        group=group,
        parent=profile.parent_of(name) if kind == "object" else None,
        replacement=choose_replacement(tokenizer, name, others),
        neighbours=others,
    )


def choose_replacement(tokenizer: TokenizerCache, name: str, candidates: tuple[str, ...]) -> str | None:
    """Return the candidate with the fewest tokens of the name, then the one whose number of tokens differs least.

    A replacement that shares tokens with the concept keeps a part of it; one of the same length keeps later words in place.
    """
    own, *encoded = (encoded.ids[1:-1] for encoded in tokenizer.encode([name, *candidates]))
    ranked = (
        (len({*own} & {*ids}), abs(len(own) - len(ids)), index) for index, ids in enumerate(encoded)
    )  # the first of equals
    return candidates[min(ranked)[2]] if candidates else None
