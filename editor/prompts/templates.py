"""Phrases for edit prompts and retain prompts: few, and as varied as the profile allows.

A key of the first layer depends on a token's absolute position and on all tokens before it, so prompts differ in what
precedes the name, near and far, before they differ in anything else.
"""

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import count, cycle, islice, product
from math import lcm
from typing import Any, TypeVar

from editor.prompts.concepts import ConceptKind, Phrase, Surroundings, takes_article
from editor.prompts.profile import Profile

MAX_OBJECT_CONTEXTS = 40
"""Edit prompts for each name of an object."""

MAX_OBJECT_STYLE_PAIRS = 2048
"""Combinations that are all retained. A thousand objects in two hundred styles would take longer to list than to edit."""
WORDINGS_SEED = 0
PRESERVED_INTERVAL = 16
"""Of more combinations, other names between two prompts about a name that the request asks to preserve."""

Left = TypeVar("Left")


def evenly_spaced(items: Sequence[Any], limit: int) -> list[Any]:
    """Return at most ``limit`` of ``items`` at even distances."""
    if len(items) <= limit:
        return list(items)
    return [items[i * len(items) // limit] for i in range(limit)]


def diagonal_pairs(left: Sequence[Left], right: Sequence[str]) -> Iterator[tuple[Left, str]]:
    """Yield every combination once, so that consecutive pairs differ on both sides."""
    period = lcm(len(left), len(right))
    return ((left[i % len(left)], right[(i + i // period) % len(right)]) for i in range(len(left) * len(right)))


def cycle_surroundings(profile: Profile, wordings: Sequence[str]) -> Iterator[Surroundings]:
    """Yield a prefix, a suffix, both or neither forever; for wordings used in turn, the choice changes in every round."""
    prefixes = cycle([prefix for prefix in profile.prefixes if prefix] or [""])
    suffixes = cycle([suffix for suffix in profile.suffixes if suffix] or [""])
    for i in count():
        choice = (i % len(wordings) + i // len(wordings)) % 4
        yield {"prefix": next(prefixes) if choice > 1 else "", "suffix": next(suffixes) if choice % 2 else ""}


def concept_contexts(profile: Profile, kind: ConceptKind, name: str) -> list[Phrase]:
    """Return the phrases in which an edit uses a name."""
    if kind == "style":
        return list(style_contexts(profile, name))
    found = dict.fromkeys(object_contexts(profile, plain_wordings(profile, kind), name))
    return [replace(phrase, verbatim=kind != "object") for phrase in found][:MAX_OBJECT_CONTEXTS]


def plain_wordings(profile: Profile, kind: ConceptKind) -> tuple[str, ...]:
    """Return the wordings that name a concept of a kind alone."""
    if kind == "object" or kind == "style":
        return profile.plain_wordings
    return profile.wordings_of(kind).plain


def held_out_wordings(profile: Profile, kind: ConceptKind) -> tuple[str, ...]:
    """Return the wordings of a kind that no edit sees."""
    if kind == "object" or kind == "style":
        return profile.held_out_wordings
    return (*profile.wordings_of(kind).held_out, *profile.held_out_wordings)


def object_contexts(profile: Profile, plain: Sequence[str], name: str) -> Iterator[Phrase]:
    """Yield the object in every plain wording, first bare, then with surroundings; then in styles."""
    yield from (Phrase(wording, name) for wording in plain)
    surrounded = zip(plain, cycle_surroundings(profile, plain), strict=False)
    yield from (Phrase(wording, name, **around) for wording, around in surrounded)
    styled = zip(
        diagonal_pairs(profile.styled_wordings, profile.styles),
        cycle_surroundings(profile, profile.styled_wordings),
        strict=False,
    )
    yield from (Phrase(wording, name, style, **around) for (wording, style), around in styled)


def style_contexts(profile: Profile, name: str) -> Iterator[Phrase]:
    """Yield the style with every object, or with evenly spaced ones of many, in another wording in every round."""
    objects = evenly_spaced(profile.object_names, profile.style_contexts)
    combined = islice(diagonal_pairs(objects, profile.styled_wordings), profile.style_contexts)
    for (thing, wording), around in zip(combined, cycle_surroundings(profile, profile.styled_wordings), strict=False):
        yield Phrase(wording, thing, name, **around)


def object_style_phrases(
    profile: Profile, objects: Sequence[str], styles: Sequence[str], preserved: Collection[str] = ()
) -> Iterator[Phrase]:
    """Yield every object, plain and in styles, as varied as the edit prompts.

    Wordings are picked at random: styles recur with a period of their own, and would each meet a few of them.
    """
    generator, surroundings = random.Random(WORDINGS_SEED), cycle_surroundings(profile, profile.styled_wordings)
    for thing, style in object_style_pairs(objects, styles, preserved):
        wording = generator.choice(profile.styled_wordings if style else profile.plain_wordings)
        yield Phrase(wording, thing, style, **next(surroundings))


def object_style_pairs(
    objects: Sequence[str], styles: Sequence[str], preserved: Collection[str] = ()
) -> Iterator[tuple[str, str]]:
    """Yield every object without a style and in every style.

    Of many combinations, yield evenly spaced objects, each without a style and in the next one. Those that a request asks to
    preserve recur.
    """
    if len(objects) * (len(styles) + 1) <= MAX_OBJECT_STYLE_PAIRS:
        yield from product(objects, ("", *styles))
        return
    next_styles = cycle(recurring(preserved, styles, len(styles)))
    for index, thing in enumerate(recurring(preserved, objects, MAX_OBJECT_STYLE_PAIRS // 4)):
        pair = (thing, ""), (thing, next(next_styles))
        yield from pair if index % 2 else pair[::-1]


def recurring(preserved: Collection[str], names: Sequence[str], limit: int) -> Iterator[str]:
    """Yield at most ``limit`` evenly spaced names, and before every 16th all of ``names`` that are preserved."""
    own = [name for name in names if name in preserved]
    for index, name in enumerate(evenly_spaced([name for name in names if name not in preserved], limit)):
        yield from own if index % PRESERVED_INTERVAL == 0 else ()
        yield name


def named_phrases(profile: Profile, kind: ConceptKind, names: Sequence[str]) -> Iterator[Phrase]:
    """Yield every name of a kind in every plain wording of the kind."""
    wordings = plain_wordings(profile, kind)
    for (name, wording), around in zip(product(names, wordings), cycle_surroundings(profile, wordings), strict=False):
        yield Phrase(wording, name, verbatim=True, **around)


MAX_CLASS_PROMPTS = 36
"""Prompts that describe a class of a zero-shot judge."""


def class_prompts(profile: Profile, kind: ConceptKind, name: str) -> list[str]:
    """Return descriptions of a class: the profile's templates of its kind, or else it in all styles and on all backgrounds.

    A style without templates is described on all objects.
    """
    verbatim, templates = not takes_article(kind, name), profile.judging.templates.get(kind)
    if templates:
        return [Phrase(text, "", verbatim=verbatim).about(kind, name).text() for text in templates]
    if kind not in ("object", "style"):
        return [Phrase(wording, name, verbatim=verbatim).text() for wording in plain_wordings(profile, kind)]
    wording, suffixes = profile.styled_wordings[0], profile.suffixes
    if kind == "object":
        grid = [Phrase(wording, name, style, suffix) for style, suffix in product(profile.styles, suffixes)]
        return [phrase.text() for phrase in evenly_spaced(grid, MAX_CLASS_PROMPTS)]
    things = cycle(suffixes)
    return [Phrase(wording, thing, name, next(things)).text() for thing in profile.object_names]
