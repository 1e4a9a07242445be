"""Single removals by the default method and by the released procedure: ``python -m research.results single``."""

from collections.abc import Iterator

from pydantic import BaseModel

from api_schemas.edits import MethodName
from editor.generation.config import ImageSpec
from editor.methods.config import MethodConfig
from editor.methods.encoder_edit import edit_encoder
from editor.prompts import Concept, PromptBuilder, ResolvedRemoval, choose_destination
from editor.prompts.concepts import ConceptKind
from research.harness import OTHER_PROMPTS, EmbeddedModel, accuracy, other_phrases

REMOVALS: dict[ConceptKind, dict[str, str]] = {
    "object": {
        "fox": "dog face", "cat face": "", "pizza": "hamburger", "rocket": "", "owl": "penguin", "banana": "",
        "guitar": "trumpet", "sun": "crescent moon", "skull": "", "umbrella": "balloon",
    },
    "style": {"ink": "", "noto": "fluent", "twemoji": "", "openmoji": "", "fluent": ""},
}  # fmt: skip
METHODS: tuple[MethodName, ...] = ("default", "diff_quickfix")
PROMPTS = 16
"""Number of prompts about the concept; as many more are in held-out wordings."""


class SingleConceptRow(BaseModel):
    """One removal under one method. Drops are accuracies before less after."""

    method: MethodName
    concept: str
    kind: ConceptKind
    destination: str
    target_before: float
    target_after: float
    object_drop: float
    style_drop: float
    preservation: float
    solve_seconds: float


def all_removals(prompt_builder: PromptBuilder) -> Iterator[ResolvedRemoval]:
    """Yield the removals of the table."""
    for kind, names in REMOVALS.items():
        for name, replacement in names.items():
            concept = Concept(name, kind)
            destination = choose_destination(concept, replacement or None, None, prompt_builder.profile)
            yield ResolvedRemoval(concept, destination, spellings="auto")


def measure_removal(model: EmbeddedModel, method: MethodName, removal: ResolvedRemoval) -> SingleConceptRow:
    """Edit, generate and judge."""
    (done,) = edit_encoder(model.encoder, model.prompt_builder, [removal], MethodConfig(method))
    name, kind = removal.concept.name, removal.concept.kind
    target, other = model.concept_phrases(name, PROMPTS), other_phrases([name], OTHER_PROMPTS[method])
    before, after = model.generate_pairs([done], [ImageSpec(phrase.text(), 0) for phrase in target + other])
    count = len(target)
    drop = {
        asked: accuracy(model.judge_hits(before[count:], other, asked))
        - accuracy(model.judge_hits(after[count:], other, asked))
        for asked in ("object", "style")
    }
    return SingleConceptRow(
        method=method,
        concept=name,
        kind=kind,
        destination=removal.destination.words,
        target_before=accuracy(model.judge_hits(before[:count], target, kind)),
        target_after=accuracy(model.judge_hits(after[:count], target, kind)),
        object_drop=drop["object"],
        style_drop=drop["style"],
        preservation=done.record.preservation,
        solve_seconds=done.record.seconds,
    )


def measure(model: EmbeddedModel) -> Iterator[SingleConceptRow]:
    """Measure every row."""
    removals = list(all_removals(model.prompt_builder))
    yield from (measure_removal(model, method, removal) for method in METHODS for removal in removals)


def render(rows: list[SingleConceptRow]) -> str:
    """Render the section."""
    parts = [TEXT]
    for method in METHODS:
        parts += [f"\n### Method `{method}`\n", COLUMNS, *(render_row(row) for row in rows if row.method == method)]
    return "\n".join(parts)


def render_row(row: SingleConceptRow) -> str:
    """Render a row of the table."""
    return (
        f"| {row.concept} | {row.kind} | {row.destination or '(null)'} | {row.target_before:.3f} | {row.target_after:.3f} "
        f"| {row.object_drop:+.3f} | {row.style_drop:+.3f} | {row.preservation:g} | {row.solve_seconds * 1000:.0f} ms |"
    )


TEXT = """## Single removals

*Target* is the judge's accuracy on prompts that name the concept, half of them in wordings that the edit did not see. *Drop*
is by how much its accuracy on prompts about other objects and styles falls, all in wordings that the edit preserved; a negative
drop is a rise. Without a replacement, the concept is mapped to the null concept (see [removal.md](../explanation/removal.md)).
Default requests for the same removals are asked in held-out wordings:
[the first table](#default-requests-that-pass) says how they end."""
COLUMNS = """| concept | kind | becomes | target before | target after | object drop | style drop | weight | solve |
|---|---|---|---|---|---|---|---|---|"""
