"""One removal at a time, by the default and by the released procedure."""

from collections.abc import Iterator

from pydantic import BaseModel

from editor.generation.config import ImageSpec
from editor.methods.config import MethodConfig, Preset
from editor.methods.default import edit_encoder
from editor.prompts import Concept, PromptBuilder, ResolvedRemoval, choose_destination
from editor.prompts.concepts import ConceptKind
from research.harness import OTHERS, Studio, others, share

REMOVALS: dict[ConceptKind, dict[str, str]] = {
    "object": {
        "fox": "dog face", "cat face": "", "pizza": "hamburger", "rocket": "", "owl": "penguin", "banana": "",
        "guitar": "trumpet", "sun": "crescent moon", "skull": "", "umbrella": "balloon",
    },
    "style": {"ink": "", "noto": "fluent", "twemoji": "", "openmoji": "", "fluent": ""},
}  # fmt: skip
PRESETS: tuple[Preset, ...] = ("default", "paper")
PROMPTS = 16
"""About the concept, and as many in held-out wordings."""


class Row(BaseModel):
    """One removal under one preset. Drops are before less after."""

    preset: Preset
    concept: str
    kind: ConceptKind
    destination: str
    target_before: float
    target_after: float
    object_drop: float
    style_drop: float
    preservation: float
    solve_seconds: float


def removals(book: PromptBuilder) -> Iterator[ResolvedRemoval]:
    """What the table is about."""
    for kind, names in REMOVALS.items():
        for name, replacement in names.items():
            concept = Concept(name, kind)
            destination = choose_destination(concept, replacement or None, None, book.profile)
            yield ResolvedRemoval(concept, destination, spellings="auto")


def row(studio: Studio, preset: Preset, removal: ResolvedRemoval) -> Row:
    """Edit, draw, judge."""
    (done,) = edit_encoder(studio.encoder, studio.book, [removal], MethodConfig(preset))
    name, kind = removal.concept.name, removal.concept.kind
    named, rest = studio.about(name, PROMPTS), others([name], OTHERS[preset])
    before, after = studio.both([done], [ImageSpec(phrase.text(), 0) for phrase in named + rest])
    count = len(named)
    fell = {
        asks: share(studio.hits(before[count:], rest, asks)) - share(studio.hits(after[count:], rest, asks))
        for asks in ("object", "style")
    }
    return Row(
        preset=preset,
        concept=name,
        kind=kind,
        destination=removal.destination.words,
        target_before=share(studio.hits(before[:count], named, kind)),
        target_after=share(studio.hits(after[:count], named, kind)),
        object_drop=fell["object"],
        style_drop=fell["style"],
        preservation=done.record.preservation,
        solve_seconds=done.record.seconds,
    )


def measure(studio: Studio) -> Iterator[Row]:
    """Every row."""
    yield from (row(studio, preset, removal) for preset in PRESETS for removal in removals(studio.book))


def page(rows: list[Row]) -> str:
    """The section."""
    parts = [TEXT]
    for preset in PRESETS:
        parts += [f"\n### Preset `{preset}`\n", COLUMNS, *(line(one) for one in rows if one.preset == preset)]
    return "\n".join(parts)


def line(one: Row) -> str:
    """A row of the table."""
    return (
        f"| {one.concept} | {one.kind} | {one.destination or '(null)'} | {one.target_before:.3f} | {one.target_after:.3f} "
        f"| {one.object_drop:+.3f} | {one.style_drop:+.3f} | {one.preservation:g} | {one.solve_seconds * 1000:.0f} ms |"
    )


TEXT = """## One removal at a time

*Target* is the accuracy on prompts that name the concept, half of them in wordings that the edit never saw. *Drop* is how
far accuracy falls on prompts about the other objects and styles; below zero it rose. No replacement means the null concept
(see [removal.md](../explanation/removal.md))."""
COLUMNS = """| concept | kind | becomes | target before | target after | object drop | style drop | weight | solve |
|---|---|---|---|---|---|---|---|---|"""
