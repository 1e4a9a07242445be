"""Compose the destinations of several removals: a prompt that names two removed concepts is mapped to one destination.

Only the removals whose prompts mention another active removal depend on it, so a ledger sums the others' statistics once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from api_schemas.kinds import PromptSlot, prompt_slot
from editor.prompts.concepts import Destination, ResolvedRemoval, Substitution
from editor.prompts.prompt_builder import PromptBuilder

Destinations = Mapping[tuple[PromptSlot, str], Destination]
"""Slot and name, in lower case -> destination."""


def compose_removals(removals: Sequence[ResolvedRemoval], builder: PromptBuilder) -> list[ResolvedRemoval]:
    """Return removals with what the others make of the names that their prompts mention.

    A destination that is itself removed, such as a profile's default style, is followed to its own destination.
    """
    own = {
        (prompt_slot(removal.concept.kind), name.casefold()): removal.destination
        for removal in removals
        for name in removal.names
    }
    destinations = {key: follow(key[0], destination, own) for key, destination in own.items()}
    return [compose(removal, destinations, builder) for removal in removals]


def follow(slot: PromptSlot, destination: Destination, destinations: Destinations) -> Destination:
    """Return the last of a chain of destinations; the given one if the chain is a cycle."""
    current, seen = destination, set[str]()
    while (name := current.words.casefold()) and (slot, name) in destinations:
        if name in seen:
            return destination
        seen.add(name)
        current = destinations[slot, name]
    return current


def compose(removal: ResolvedRemoval, destinations: Destinations, builder: PromptBuilder) -> ResolvedRemoval:
    """Return a removal with its final destination and the substitutions in the other slot of its prompts."""
    slot = prompt_slot(removal.concept.kind)
    other: PromptSlot = "object" if slot == "style" else "style"
    mentioned = sorted(set(mentioned_names(removal, other, builder)))
    composed = tuple(
        Substitution(name, destinations[other, name.casefold()].words)
        for name in mentioned
        if (other, name.casefold()) in destinations
    )
    own = destinations.get((slot, removal.concept.subject.casefold()), removal.destination)
    return replace(removal, destination=own, composed=composed)


def mentioned_names(removal: ResolvedRemoval, slot: PromptSlot, builder: PromptBuilder) -> Iterable[str]:
    """Yield the names in a slot of the prompts that a removal is computed from."""
    contexts = builder.contexts(removal.concept.kind, removal.concept.subject)
    phrases = [*contexts, *(added.phrase for added in removal.phrases)]
    yield from (name for phrase in phrases if (name := getattr(phrase, slot)))
