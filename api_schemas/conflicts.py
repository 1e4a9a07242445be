"""Removals that contradict one another, or that get in one another's way: each conflict with both parties named.

Everything here is about names. `editor.prompts.token_conflicts` adds what only a tokenizer can tell.
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
    "shared_token",
]
ARTICLES = {"a", "an", "the"}


class Party(Resource):
    """One side of a conflict."""

    label: str = Field(description="Which removal: its place in the request, or what the caller named it.")
    field: str = Field(description="Which of its fields.", examples=["concept", "aliases[0]", "options.pins[0]"])
    name: str = Field(description="What stands there.")

    def __str__(self) -> str:
        """As a message names it."""
        return f"{self.label}.{self.field} “{self.name}”".removeprefix(".")


class Conflict(Resource):
    """Two parties that cannot both have their way (`error`), or that will be felt by one another (`warning`)."""

    kind: ConflictKind
    severity: Severity
    left: Party
    right: Party
    message: str
    remedy: str


class NamedRemoval(Protocol):
    """The fields of a removal that conflicts are found by (`api_schemas.edits.Removal`)."""

    @property
    def kind(self) -> Literal["object", "style"]:
        """Return "object" or "style"."""

    @property
    def replacement(self) -> str | None:
        """Return the concept that takes its place, if one was named."""

    @property
    def generic(self) -> str | None:
        """Return the parent class, if one was named."""

    @property
    def preserve(self) -> Sequence[str]:
        """Return the names that must stay."""

    def phrases(self) -> Iterable[tuple[tuple[str | int, ...], str]]:
        """Yield every name that the removal covers, with its location in the request."""


@dataclass(frozen=True)
class LabelledRemoval:
    """A removal, the name that conflicts call it by, and the prompts that were pinned with it."""

    label: str
    removal: NamedRemoval
    pins: tuple[str, ...] = ()

    @property
    def destination(self) -> Words:
        """What takes the concept's place; nothing for the null concept."""
        return normalize_words(self.removal.replacement or self.removal.generic or "")


@dataclass(frozen=True)
class NameReference:
    """A phrase of a removal, and where it stands."""

    owner: LabelledRemoval
    field: str
    text: str

    @property
    def key(self) -> tuple[str, Words]:
        """What it collides by: an object and a style may share a name."""
        return self.owner.removal.kind, normalize_words(self.text)

    @property
    def party(self) -> Party:
        """As conflicts show it."""
        return Party(label=self.owner.label, field=self.field, name=self.text)


NameIndex: TypeAlias = dict[tuple[str, Words], list[NameReference]]


def normalize_words(text: str) -> Words:
    """Case, accents' encoding, hyphens and a leading article make no difference."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    words = tuple(re.findall(r"\w+|[^\w\s'’-]", folded)) or (folded,)
    return words[1:] if len(words) > 1 and words[0] in ARTICLES else words


def subsequences(words: Words, longest: int) -> Iterator[Words]:
    """Every run of at most ``longest`` words."""
    for start in range(len(words)):
        for stop in range(start + 1, min(start + longest, len(words)) + 1):
            yield words[start:stop]


def removed_names(removal: LabelledRemoval) -> Iterator[NameReference]:
    """Everything that goes with a removal."""
    for location, text in removal.removal.phrases():
        if location[0] not in ("replacement", "generic", "preserve"):
            yield NameReference(removal, location_text(location), text)


def preserved_names(removal: LabelledRemoval) -> Iterator[NameReference]:
    """What a removal asks to preserve."""
    yield from (NameReference(removal, f"preserve[{i}]", text) for i, text in enumerate(removal.removal.preserve))


def replacement_names(removal: LabelledRemoval) -> Iterator[NameReference]:
    """What takes its place; a generic class counts only where there is no replacement."""
    wanted = ((field, getattr(removal.removal, field)) for field in ("replacement", "generic"))
    named = [NameReference(removal, field, text) for field, text in wanted if text]
    yield from named[:1]


def location_text(location: Sequence[str | int]) -> str:
    """``("aliases", 0)`` -> ``aliases[0]``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def name_index(removals: Iterable[LabelledRemoval]) -> NameIndex:
    """Each name with all that bring it, in the order of their labels."""
    index: NameIndex = defaultdict(list)
    for removal in sorted(removals, key=lambda removal: removal.label):
        for named in removed_names(removal):
            index[named.key].append(named)
    return dict(index)


def find_name_conflicts(removals: Sequence[LabelledRemoval]) -> list[Conflict]:
    """All conflicts between names, errors first; the order of ``removals`` does not matter."""
    index = name_index(removals)
    found = [
        *find_shared_names(index),
        *find_removed_replacements(index, removals),
        *find_removed_preserved(index, removals),
    ]
    pins = ((removal.label, pin) for removal in removals for pin in enumerate(removal.pins))
    pinned = [conflict for label, pin in pins for conflict in find_removed_pins(index, *pin, label)]
    return sort_conflicts([*found, *pinned, *find_homonyms(index)])


def sort_conflicts(conflicts: Iterable[Conflict]) -> list[Conflict]:
    """Errors first, then by kind and parties; each once."""
    unique = {(c.severity, c.kind, str(c.left), str(c.right)): c for c in conflicts}
    return [unique[key] for key in sorted(unique)]


def find_shared_names(index: NameIndex) -> Iterator[Conflict]:
    """Two removals of the same name: a contradiction unless both lead to the same place."""
    for bearers in index.values():
        for left, right in pairwise({named.owner.label: named for named in reversed(bearers)}.values()):
            left, right = sorted((left, right), key=lambda named: named.owner.label)
            agree = left.owner.destination == right.owner.destination
            both = left.field == right.field == "concept"
            yield Conflict(
                kind="two_replacements" if both and not agree else "duplicate",
                severity="warning" if agree else "error",
                left=left.party,
                right=right.party,
                message=f"{left.party} and {right.party} are the same"
                + (", and lead to the same" if agree else ", but shall become different things"),
                remedy="Remove it once." if agree else "Agree on one replacement.",
            )


def find_removed_replacements(index: NameIndex, removals: Iterable[LabelledRemoval]) -> Iterator[Conflict]:
    """Replacements that are themselves removed."""
    hits = [
        (wanted, index[wanted.key][0])
        for removal in removals
        for wanted in replacement_names(removal)
        if wanted.key in index
    ]
    edges = {wanted.owner.label: removed.owner.label for wanted, removed in hits}
    circular = cycle_members({label: following for label, following in edges.items() if label != following})
    for wanted, removed in hits:
        cyclic = {wanted.owner.label, removed.owner.label} <= circular
        yield Conflict(
            kind="cycle" if cyclic else "replacement_removed",
            severity="error",
            left=wanted.party,
            right=removed.party,
            message=f"{wanted.party} shall take a place, but {removed.party} is removed"
            + (", and so on in a circle" if cyclic else ""),
            remedy="Choose a replacement that stays.",
        )


def cycle_members(following: dict[str, str]) -> set[str]:
    """The nodes on circles of a graph in which each node has at most one successor."""
    done: set[str] = set()
    members: set[str] = set()
    for start in following:
        path: dict[str, int] = {}
        node: str | None = start
        while node is not None and node not in done and node not in path:
            path[node] = len(path)
            node = following.get(node)
        if node in path:
            members.update(list(path)[path[node] :])
        done.update(path)
    return members


def find_removed_preserved(index: NameIndex, removals: Iterable[LabelledRemoval]) -> Iterator[Conflict]:
    """Concepts to preserve that are removed, or that have a removed name in theirs."""
    for kept in (named for removal in removals for named in preserved_names(removal)):
        if kept.key in index:
            removed = index[kept.key][0]
            yield Conflict(
                kind="preserve_removed",
                severity="error",
                left=removed.party,
                right=kept.party,
                message=f"{removed.party} is removed, but {kept.party} shall stay",
                remedy="Drop one of the two.",
            )
        else:
            yield from (homonym_warning(removed, kept) for removed in contained_names(kept, index))


def find_removed_pins(index: NameIndex, place: int, pin: str, label: str = "") -> Iterator[Conflict]:
    """Names in a prompt that must not change. ``label``: whose prompt it is; a request's own has none."""
    party = Party(label=label, field=f"options.pins[{place}]", name=pin)
    longest = max((len(words) for _, words in index), default=0)
    names = ((kind, part) for part in subsequences(normalize_words(pin), longest) for kind in ("object", "style"))
    for removed in (index[name][0] for name in names if name in index):
        yield Conflict(
            kind="pin_removed",
            severity="error",
            left=removed.party,
            right=party,
            message=f"{removed.party} is removed, but {party} names it and shall not change",
            remedy="Pin prompts that name nothing removed.",
        )


def find_homonyms(index: NameIndex) -> Iterator[Conflict]:
    """The same name for an object and a style, and names inside other names, that lead to different places."""
    for (kind, words), bearers in index.items():
        if kind == "object" and ("style", words) in index:
            yield homonym_warning(bearers[0], index["style", words][0])
        for removed in contained_names(bearers[0], index):
            if removed.owner.destination != bearers[0].owner.destination:
                yield homonym_warning(removed, bearers[0])


def contained_names(named: NameReference, index: NameIndex) -> Iterator[NameReference]:
    """Names of other removals that are a part of this one."""
    kind, words = named.key
    for part in subsequences(words, len(words) - 1):
        found = index.get((kind, part), [])
        yield from [other for other in found if other.owner.label != named.owner.label][:1]


def homonym_warning(removed: NameReference, other: NameReference) -> Conflict:
    """One name is a part of the other, or reads the same."""
    return interference_warning(
        "homonym", removed, other, f"{removed.party} is part of {other.party} or sounds like it"
    )


def interference_warning(kind: ConflictKind, removed: NameReference, other: NameReference, why: str) -> Conflict:
    """A warning: what happens to the one is felt by the other."""
    return Conflict(
        kind=kind,
        severity="warning",
        left=removed.party,
        right=other.party,
        message=f"{why}: removing the one is felt by the other",
        remedy="Look at the foreseen damage, and preserve what must stay.",
    )
