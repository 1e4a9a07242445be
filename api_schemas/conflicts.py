"""Conflicts between removals: contradictions and interference, with both parties named.

Only names are compared here. `editor.prompts.token_conflicts` adds the conflicts that depend on a tokenizer.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol, TypeAlias

from pydantic import Field

from api_schemas.base import Resource
from api_schemas.kinds import AUTO, ConceptKind, PromptSlot, prompt_slot

Words: TypeAlias = tuple[str, ...]
Severity = Literal["error", "warning"]
ConflictKind = Literal[
    "replacement_removed",
    "cycle",
    "two_replacements",
    "duplicate",
    "preserve_removed",
    "pin_removed",
    "homonym",
    "mixed_scripts",
    "shared_token",
]
LOOK_ALIKE_SCRIPTS = {"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC"}
"""Scripts with letters that look like one another's (Unicode Technical Standard 39)."""
ARTICLES = {"a", "an", "the"}


class Party(Resource):
    """One side of a conflict."""

    label: str = Field(description="The removal: its index in the request, or the label that the caller gave it.")
    field: str = Field(description="The field of the removal.", examples=["concept", "aliases[0]", "options.pins[0]"])
    name: str = Field(description="The value of the field.")

    def __str__(self) -> str:
        """Format the party for a message."""
        return f"{self.label}.{self.field} “{self.name}”".removeprefix(".")


class Conflict(Resource):
    """Two parties that exclude each other (`error`), or of which one affects the other (`warning`)."""

    kind: ConflictKind
    severity: Severity
    left: Party
    right: Party
    message: str
    remedy: str


class NamedRemoval(Protocol):
    """The fields of `api_schemas.edits.Removal` that determine conflicts."""

    @property
    def kind(self) -> ConceptKind:
        """Return the kind of the concept."""

    @property
    def replacement(self) -> str | None:
        """Return the replacement, or None."""

    @property
    def generic(self) -> str | None:
        """Return the parent class, or None."""

    @property
    def preserve(self) -> Sequence[str]:
        """Return the names to preserve."""

    def phrases(self) -> Iterable[tuple[tuple[str | int, ...], str]]:
        """Yield every name that the removal covers, with its location in the request."""


@dataclass(frozen=True)
class LabelledRemoval:
    """A removal with a label for messages, and the prompts pinned by its request."""

    label: str
    removal: NamedRemoval
    pins: tuple[str, ...] = ()
    known_class: str | None = None
    """What the parent class ``auto`` stands for; None if there is none, or it is not known here."""

    @property
    def generic(self) -> str | None:
        """The parent class, or None."""
        return self.known_class if self.removal.generic == "auto" else self.removal.generic

    @property
    def destination(self) -> Words:
        """The words of the replacement or parent class; empty for the null concept, ``auto`` for a choice."""
        named = next((reference.text for reference in replacement_names(self)), self.removal.replacement)
        return normalize_words(named or "")


@dataclass(frozen=True)
class NameReference:
    """A name in a field of a removal."""

    owner: LabelledRemoval
    field: str
    text: str

    @property
    def key(self) -> tuple[PromptSlot, Words]:
        """The key by which names collide: a style may have the name of something depicted, but a person not an object's."""
        return prompt_slot(self.owner.removal.kind), normalize_words(self.text)

    @property
    def party(self) -> Party:
        """The name as a party of a conflict."""
        return Party(label=self.owner.label, field=self.field, name=self.text)


NameIndex: TypeAlias = dict[tuple[PromptSlot, Words], list[NameReference]]


def normalize_words(text: str) -> Words:
    """Split into words, ignoring case, Unicode form, hyphens and a leading article."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    words = tuple(re.findall(r"\w+|[^\w\s'’-]", folded)) or (folded,)
    return words[1:] if len(words) > 1 and words[0] in ARTICLES else words


def subsequences(words: Words, longest: int) -> Iterator[Words]:
    """Yield every contiguous subsequence of at most ``longest`` words."""
    for start in range(len(words)):
        for stop in range(start + 1, min(start + longest, len(words)) + 1):
            yield words[start:stop]


def removed_names(removal: LabelledRemoval) -> Iterator[NameReference]:
    """Yield every name that the removal erases."""
    for location, text in removal.removal.phrases():
        if location[0] not in ("replacement", "generic", "preserve"):
            yield NameReference(removal, location_text(location), text)


def preserved_names(removal: LabelledRemoval) -> Iterator[NameReference]:
    """Yield the names that the removal preserves."""
    yield from (NameReference(removal, f"preserve[{i}]", text) for i, text in enumerate(removal.removal.preserve))


def replacement_names(removal: LabelledRemoval) -> Iterator[NameReference]:
    """Yield the replacement, or the parent class if there is no replacement."""
    fields = (("replacement", removal.removal.replacement), ("generic", removal.generic))
    names = [NameReference(removal, field, text) for field, text in fields if text and text != AUTO]
    yield from names[:1]


def location_text(location: Sequence[str | int]) -> str:
    """``("aliases", 0)`` -> ``aliases[0]``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def name_index(removals: Iterable[LabelledRemoval]) -> NameIndex:
    """Map each name to its occurrences, ordered by label."""
    index: NameIndex = defaultdict(list)
    for removal in sorted(removals, key=lambda removal: removal.label):
        for named in removed_names(removal):
            index[named.key].append(named)
    return dict(index)


def find_name_conflicts(removals: Sequence[LabelledRemoval]) -> list[Conflict]:
    """Find all conflicts between names, errors first. The order of ``removals`` does not matter."""
    index = name_index(removals)
    conflicts = [
        *find_shared_names(index),
        *find_removed_replacements(index, removals),
        *find_removed_preserved(index, removals),
    ]
    pins = ((removal.label, pin) for removal in removals for pin in enumerate(removal.pins))
    pinned = [conflict for label, pin in pins for conflict in find_removed_pins(index, *pin, label)]
    return sort_conflicts([*conflicts, *pinned, *find_homonyms(index), *find_mixed_scripts(index)])


def sort_conflicts(conflicts: Iterable[Conflict]) -> list[Conflict]:
    """Sort conflicts, errors first, and drop duplicates."""
    unique = {(c.severity, c.kind, str(c.left), str(c.right)): c for c in conflicts}
    return [unique[key] for key in sorted(unique)]


def find_shared_names(index: NameIndex) -> Iterator[Conflict]:
    """Find names that two removals erase: an error unless both have the same replacement."""
    for occurrences in index.values():
        for left, right in pairwise({named.owner.label: named for named in reversed(occurrences)}.values()):
            left, right = sorted((left, right), key=lambda named: named.owner.label)
            agree = left.owner.destination == right.owner.destination
            both = left.field == right.field == "concept"
            yield Conflict(
                kind="two_replacements" if both and not agree else "duplicate",
                severity="warning" if agree else "error",
                left=left.party,
                right=right.party,
                message=f"{left.party} and {right.party} are the same"
                + (", and have the same replacement" if agree else ", but have different replacements"),
                remedy="Remove it once." if agree else "Agree on one replacement.",
            )


def find_removed_replacements(index: NameIndex, removals: Iterable[LabelledRemoval]) -> Iterator[Conflict]:
    """Find replacements that are themselves removed."""
    matches = [
        (replacement, index[replacement.key][0])
        for removal in removals
        for replacement in replacement_names(removal)
        if replacement.key in index
    ]
    edges = {replacement.owner.label: removed.owner.label for replacement, removed in matches}
    circular = cycle_members({label: successors for label, successors in edges.items() if label != successors})
    for replacement, removed in matches:
        cyclic = {replacement.owner.label, removed.owner.label} <= circular
        yield Conflict(
            kind="cycle" if cyclic else "replacement_removed",
            severity="error",
            left=replacement.party,
            right=removed.party,
            message=f"{replacement.party} is a replacement, but {removed.party} is removed"
            + (", in a cycle" if cyclic else ""),
            remedy="Choose a replacement that is not removed.",
        )


def cycle_members(successors: dict[str, str]) -> set[str]:
    """Return the nodes on cycles of a graph in which each node has at most one successor."""
    done: set[str] = set()
    members: set[str] = set()
    for start in successors:
        path: dict[str, int] = {}
        node: str | None = start
        while node is not None and node not in done and node not in path:
            path[node] = len(path)
            node = successors.get(node)
        if node in path:
            members.update(list(path)[path[node] :])
        done.update(path)
    return members


def find_removed_preserved(index: NameIndex, removals: Iterable[LabelledRemoval]) -> Iterator[Conflict]:
    """Find preserved names that are removed or that contain a removed name."""
    for preserved in (named for removal in removals for named in preserved_names(removal)):
        if preserved.key in index:
            removed = index[preserved.key][0]
            yield Conflict(
                kind="preserve_removed",
                severity="error",
                left=removed.party,
                right=preserved.party,
                message=f"{removed.party} is removed, but {preserved.party} is to be preserved",
                remedy="Drop one of the two.",
            )
        else:
            yield from (homonym_warning(removed, preserved) for removed in contained_names(preserved, index))


def find_removed_pins(index: NameIndex, position: int, pin: str, label: str = "") -> Iterator[Conflict]:
    """Find removed names in a pinned prompt. ``label`` is empty for a prompt of the request itself."""
    party = Party(label=label, field=f"options.pins[{position}]", name=pin)
    longest = max((len(words) for _, words in index), default=0)
    slots: tuple[PromptSlot, ...] = ("object", "style")
    names = ((slot, part) for part in subsequences(normalize_words(pin), longest) for slot in slots)
    for removed in (index[name][0] for name in names if name in index):
        yield Conflict(
            kind="pin_removed",
            severity="error",
            left=removed.party,
            right=party,
            message=f"{removed.party} is removed, but {party} names it and must not change",
            remedy="Pin prompts that name nothing removed.",
        )


def find_homonyms(index: NameIndex) -> Iterator[Conflict]:
    """Find names shared by an object and a style, and names inside other names with a different replacement."""
    for (kind, words), occurrences in index.items():
        if kind == "object" and ("style", words) in index:
            yield homonym_warning(occurrences[0], index["style", words][0])
        for removed in contained_names(occurrences[0], index):
            if removed.owner.destination != occurrences[0].owner.destination:
                yield homonym_warning(removed, occurrences[0])


def find_mixed_scripts(index: NameIndex) -> Iterator[Conflict]:
    """Find names with a word in letters of several scripts, which people read as another name."""
    for (_, words), occurrences in index.items():
        mixed = [own for word in words if len(own := scripts_of(word)) > 1]
        if mixed:
            party, scripts = occurrences[0].party, " and ".join(sorted(map(str.title, mixed[0])))
            yield Conflict(
                kind="mixed_scripts",
                severity="warning",
                left=party,
                right=party,
                message=f"{party} mixes {scripts} letters in one word: it may look like "
                "another name, which the removal does not cover",
                remedy="Type the name again in one script.",
            )


def scripts_of(word: str) -> set[str]:
    """Return the scripts of a word's letters, among those that have look-alikes in one another."""
    names = (unicodedata.name(char, "").partition(" ")[0] for char in word if char.isalpha())
    return {name for name in names if name in LOOK_ALIKE_SCRIPTS}


def contained_names(named: NameReference, index: NameIndex) -> Iterator[NameReference]:
    """Yield names of other removals that are contained in this one."""
    kind, words = named.key
    for part in subsequences(words, len(words) - 1):
        found = index.get((kind, part), [])
        yield from [other for other in found if other.owner.label != named.owner.label][:1]


def homonym_warning(removed: NameReference, other: NameReference) -> Conflict:
    """Build a warning about a name that is contained in another name or reads the same."""
    return interference_warning(
        "homonym", removed, other, f"{removed.party} is part of {other.party} or reads the same"
    )


def interference_warning(kind: ConflictKind, removed: NameReference, other: NameReference, reason: str) -> Conflict:
    """Build a warning about two names of which removing one affects the other."""
    return Conflict(
        kind=kind,
        severity="warning",
        left=removed.party,
        right=other.party,
        message=f"{reason}: removing one affects the other",
        remedy="Check the predicted collateral damage, and preserve what must stay.",
    )
