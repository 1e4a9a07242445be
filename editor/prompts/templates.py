"""The phrases that a name is edited and kept in: few, and as unlike one another as the profile allows.

A key of the first layer depends on a token's absolute position and on all tokens before it, so prompts differ in what
precedes the name, near and far, before they differ in anything else.
"""

from collections.abc import Iterator, Sequence
from itertools import cycle, islice, product
from math import lcm
from typing import Any

from editor.prompts.concepts import Kind, Phrase
from editor.prompts.profile import Profile

OBJECT_CONTEXTS = 40
"""Prompts that an object is edited in, for each of its names."""


def evenly(items: Sequence[Any], limit: int) -> list[Any]:
    """At most ``limit`` of ``items``, spread over them all."""
    if len(items) <= limit:
        return list(items)
    return [items[i * len(items) // limit] for i in range(limit)]


def diagonals(left: Sequence[str], right: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every combination once, such that neighbours differ on both sides."""
    period = lcm(len(left), len(right))
    return ((left[i % len(left)], right[(i + i // period) % len(right)]) for i in range(len(left) * len(right)))


def dressed(profile: Profile, wordings: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The wordings in turn, for ever, with a prefix, a suffix, both or neither: another choice for each in every round."""
    prefixes = cycle([prefix for prefix in profile.prefixes if prefix] or [""])
    suffixes = cycle([suffix for suffix in profile.suffixes if suffix] or [""])
    for i, wording in enumerate(cycle(wordings)):
        dress = (i % len(wordings) + i // len(wordings)) % 4
        yield wording, {"prefix": next(prefixes) if dress > 1 else "", "suffix": next(suffixes) if dress % 2 else ""}


def contexts(profile: Profile, kind: Kind, name: str) -> list[Phrase]:
    """The phrases that an edit names a concept in."""
    if kind == "style":
        return list(style_contexts(profile, name))
    return list(dict.fromkeys(object_contexts(profile, name)))[:OBJECT_CONTEXTS]


def object_contexts(profile: Profile, name: str) -> Iterator[Phrase]:
    """The object alone in every plain wording, bare and then with more around it; then in styles."""
    plain = profile.plain_wordings
    yield from (Phrase(wording, name) for wording in plain)
    yield from (Phrase(wording, name, **around) for wording, around in islice(dressed(profile, plain), len(plain)))
    styled = zip(
        diagonals(profile.styled_wordings, profile.styles), dressed(profile, profile.styled_wordings), strict=False
    )
    yield from (Phrase(wording, name, style, **around) for (wording, style), (_, around) in styled)


def style_contexts(profile: Profile, name: str) -> Iterator[Phrase]:
    """The style around every object, in another wording in every round."""
    combined = islice(diagonals(profile.object_names, profile.styled_wordings), profile.style_contexts)
    for (thing, wording), (_, around) in zip(combined, dressed(profile, profile.styled_wordings), strict=False):
        yield Phrase(wording, thing, name, **around)


def kept_phrases(profile: Profile, objects: Sequence[str], styles: Sequence[str]) -> Iterator[Phrase]:
    """Every object, plain and in every style, in the same variety as the edit's prompts."""
    plain, styled = dressed(profile, profile.plain_wordings), dressed(profile, profile.styled_wordings)
    for thing, style in product(objects, ("", *styles)):
        wording, around = next(styled if style else plain)
        yield Phrase(wording, thing, style, **around)


ENSEMBLE = 36
"""Contexts in which a class is described, at most."""


def class_prompts(profile: Profile, asks: Kind, name: str) -> list[str]:
    """Contexts that describe a class: an object in all styles and on all backgrounds, a style on objects and backgrounds."""
    wording, suffixes = profile.styled_wordings[0], profile.suffixes
    if asks == "object":
        grid = [Phrase(wording, name, style, suffix) for style, suffix in product(profile.styles, suffixes)]
        return [phrase.text() for phrase in evenly(grid, ENSEMBLE)]
    things = cycle(suffixes)
    return [Phrase(wording, thing, name, next(things)).text() for thing in profile.object_names]
