"""Many objects removed at once: ``python -m research.results crowd``."""

from collections.abc import Iterator

from pydantic import BaseModel

from api_schemas.edits import MethodName
from editor.emoji.vocabulary import OBJECT_NAMES
from editor.generation.config import ImageSpec
from editor.methods.config import MethodConfig
from editor.methods.encoder_edit import edit_encoder
from editor.prompts.templates import evenly_spaced
from research.emoji.erasure_capacity import make_removals
from research.harness import OTHER_PROMPTS, EmbeddedModel, accuracy, other_phrases

COUNTS = (10, 50, 90)
METHODS: tuple[MethodName, ...] = ("default", "diff_quickfix")
PROMPTS: dict[MethodName, int] = {"default": 3, "diff_quickfix": 1}
"""Number of prompts about each object; as many more are in held-out wordings."""
FOUND_THRESHOLD = 0.05


class MultiConceptRow(BaseModel):
    """A number of joint removals under one method."""

    method: MethodName
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


def measure_removals(model: EmbeddedModel, method: MethodName, count: int) -> MultiConceptRow:
    """Edit, generate and judge."""
    names = evenly_spaced(OBJECT_NAMES, count)
    edits = edit_encoder(model.encoder, model.prompt_builder, make_removals(names), MethodConfig(method))
    target = [phrase for name in names for phrase in model.concept_phrases(name, PROMPTS[method])]
    other = other_phrases(names, OTHER_PROMPTS[method])
    before, after = model.generate_pairs(edits, [ImageSpec(phrase.text(), 0) for phrase in target + other])
    hits_before, hits_after = (model.judge_hits(images[: len(target)], target, "object") for images in (before, after))
    by_name = {
        name: accuracy([hit for hit, p in zip(hits_after, target, strict=True) if p.object == name]) for name in names
    }
    drop = {
        asked: accuracy(model.judge_hits(before[len(target) :], other, asked))
        - accuracy(model.judge_hits(after[len(target) :], other, asked))
        for asked in ("object", "style")
    }
    return MultiConceptRow(
        method=method,
        removals=count,
        target_before=accuracy(hits_before),
        target_after=accuracy(hits_after),
        worst=max(by_name.values()),
        above=[name for name, share in by_name.items() if share > FOUND_THRESHOLD],
        kept_prompts=len(other),
        object_drop=drop["object"],
        style_drop=drop["style"],
        preservation=edits[0].record.preservation,
        foreseen_drift=max(edit.record.predicted_retain_p95 for edit in edits),
        solve_seconds=sum(edit.record.seconds for edit in edits),
    )


def measure(model: EmbeddedModel) -> Iterator[MultiConceptRow]:
    """Measure every row."""
    yield from (measure_removals(model, method, count) for method in METHODS for count in COUNTS)


def render(rows: list[MultiConceptRow]) -> str:
    """Render the section."""
    return "\n".join([TEXT, COLUMNS, *map(render_row, rows)])


def render_row(row: MultiConceptRow) -> str:
    """Render a row of the table."""
    above = f"{len(row.above)} of {row.removals}"
    return (
        f"| {row.removals} | {row.method} | {row.target_before:.3f} | {row.target_after:.3f} | {above} | {row.worst:.2f} "
        f"| {row.object_drop:+.3f} | {row.style_drop:+.3f} | {row.kept_prompts} | {row.preservation:g} |"
    )


TEXT = f"""## Many objects at once

Each removed object is mapped to a retained one, all in one solve. There are {2 * PROMPTS["default"]} prompts about each object,
half of them in held-out wordings; {2 * PROMPTS["diff_quickfix"]} for `diff_quickfix`. *Above* counts the objects that are still
found in more than one image in twenty, *worst* is the highest accuracy among the removed objects.
"""
COLUMNS = """| removed | method | before | after | above 0.05 | worst | object drop | style drop | other prompts | weight |
|---|---|---|---|---|---|---|---|---|---|"""
