"""Many objects at once: is each gone, and what is left of the others?"""

from collections.abc import Iterator

from pydantic import BaseModel

from editor.emoji.vocabulary import OBJECT_NAMES
from editor.generation.config import ImageSpec
from editor.methods.config import MethodConfig, Preset
from editor.methods.default import edit_encoder
from editor.prompts.templates import evenly_spaced
from research.emoji.erasure_capacity import removals_of
from research.harness import OTHERS, Studio, others, share

COUNTS = (10, 50, 90)
PRESETS: tuple[Preset, ...] = ("default", "paper")
PROMPTS: dict[Preset, int] = {"default": 3, "paper": 1}
"""About each object, and as many in held-out wordings."""


class Row(BaseModel):
    """So many removals under one preset."""

    preset: Preset
    removals: int
    target_before: float
    target_after: float
    worst: float
    """Accuracy on the removed object that is found most often."""
    above: list[str]
    """Removed objects found in more than one image in twenty."""
    kept_prompts: int
    object_drop: float
    style_drop: float
    preservation: float
    foreseen_drift: float
    solve_seconds: float


def row(studio: Studio, preset: Preset, count: int) -> Row:
    """Edit, draw, judge."""
    names = evenly_spaced(OBJECT_NAMES, count)
    (done,) = edit_encoder(studio.encoder, studio.book, removals_of(names), MethodConfig(preset))
    named, rest = [studio.about(name, PROMPTS[preset]) for name in names], others(names, OTHERS[preset])
    phrases = [phrase for own in named for phrase in own]
    before, after = studio.both([done], [ImageSpec(phrase.text(), 0) for phrase in phrases + rest])
    first, then = (studio.hits(images[: len(phrases)], phrases, "object") for images in (before, after))
    found = {name: share([hit for hit, p in zip(then, phrases, strict=True) if p.object == name]) for name in names}
    fell = {
        asks: share(studio.hits(before[len(phrases) :], rest, asks))
        - share(studio.hits(after[len(phrases) :], rest, asks))
        for asks in ("object", "style")
    }
    return Row(
        preset=preset,
        removals=count,
        target_before=share(first),
        target_after=share(then),
        worst=max(found.values()),
        above=[name for name, accuracy in found.items() if accuracy > 0.05],
        kept_prompts=len(rest),
        object_drop=fell["object"],
        style_drop=fell["style"],
        preservation=done.record.preservation,
        foreseen_drift=done.record.predicted_retain_p95,
        solve_seconds=done.record.seconds,
    )


def measure(studio: Studio) -> Iterator[Row]:
    """Every row."""
    yield from (row(studio, preset, count) for preset in PRESETS for count in COUNTS)


def page(rows: list[Row]) -> str:
    """The section."""
    return "\n".join([TEXT, COLUMNS, *map(line, rows)])


def line(one: Row) -> str:
    """A row of the table."""
    above = f"{len(one.above)} of {one.removals}"
    return (
        f"| {one.removals} | {one.preset} | {one.target_before:.3f} | {one.target_after:.3f} | {above} | {one.worst:.2f} "
        f"| {one.object_drop:+.3f} | {one.style_drop:+.3f} | {one.kept_prompts} | {one.preservation:g} |"
    )


TEXT = f"""## Many objects at once

Each removed object becomes one that is kept, all in one solve. {2 * PROMPTS["default"]} prompts about each, half of them in
held-out wordings; {2 * PROMPTS["paper"]} for the paper preset. *Above* counts the objects that are still found in more than one
image in twenty, *worst* is the highest accuracy among them.
"""
COLUMNS = """| removed | preset | before | after | above 0.05 | worst | object drop | style drop | kept prompts | weight |
|---|---|---|---|---|---|---|---|---|---|"""
