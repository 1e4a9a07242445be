"""Automatic replacements: the names that could replace a concept, and the one that is used.

A removal keeps its whole ranking, which depends on the model and the judge only. Which of its names is used depends on what
else is removed. So the same removals give the same weights, whatever the order in which they were added to a ledger.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from editor.prompts.concepts import Destination, ResolvedRemoval, profile_class
from editor.prompts.profile import Profile
from editor.prompts.prompt_builder import PromptBuilder
from editor.prompts.retained_phrases import trailing_words
from editor.prompts.templates import evenly_spaced

MAX_CANDIDATES = 24
"""Names that are compared as replacements of one concept."""


def sibling_names(removal: ResolvedRemoval, builder: PromptBuilder) -> list[str]:
    """Return other common nouns of a concept's group."""
    profile = builder.profile
    group = next((found for name in removal.names if (found := profile.group_of("object", name))), None)
    members = {*profile.objects[group]} if group else set()
    names = [name for name in builder.retained_names("object", [removal]) if name in members]
    return evenly_spaced(common_nouns(names), MAX_CANDIDATES)


def common_nouns(names: Sequence[str]) -> list[str]:
    """Return the names without a capital letter: no person, brand or place replaces anything."""
    return [name for name in names if name == name.lower()]


def choose_destinations(
    removals: Sequence[ResolvedRemoval], profile: Profile, others: Sequence[ResolvedRemoval] = ()
) -> list[ResolvedRemoval]:
    """Return removals, each with the first of its candidates as destination that neither they nor ``others`` remove.

    Without candidates a destination stays as it is.
    """
    removed = {name.lower() for removal in (*removals, *others) for name in removal.given_names}
    covered = {name.lower() for name in profile.members_of(removed)}

    def is_available(name: str) -> bool:
        return name.lower() not in covered and removed.isdisjoint(trailing_words(name.lower()))

    return [choose_destination_among(one, profile, is_available) if one.candidates else one for one in removals]


def choose_destination_among(
    removal: ResolvedRemoval, profile: Profile, is_available: Callable[[str], bool]
) -> ResolvedRemoval:
    """Return a removal with its first available candidate as destination, else with the null concept."""
    name = next(filter(is_available, removal.candidates), "")
    is_class = name == profile_class(removal.concept, profile)
    destination = Destination(name, "generic" if is_class else "auto") if name else Destination("", "null")
    return replace(removal, destination=destination, candidates=())
