"""All scores and attacks on single removals, by released procedure and default: ``python -m research.results judged``.

Measured parts are cached in ``build/judged``.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import product
from typing import TypeVar

import numpy as np
from pydantic import BaseModel

from api_schemas.attacks import Attack, AttackRecord, Attacks, Rate
from api_schemas.edits import MethodName
from api_schemas.feature_scores import FeatureScores, Residual
from editor.emoji.vocabulary import OBJECT_NAMES, STYLES
from editor.generation.config import Image, ImageSpec
from editor.io.atomic import write_bytes
from editor.judging.attacks import AttackContext, ModelVariant, make_edited_variant, run_attacks
from editor.judging.feature_scores.embedded_instruments import load_instruments
from editor.judging.feature_scores.evaluate import PairedImages, score_features
from editor.methods.config import MethodConfig
from editor.methods.encoder_edit import edit_encoder
from editor.prompts import ResolvedRemoval
from editor.prompts.concepts import ConceptKind, Phrase
from editor.prompts.templates import evenly_spaced
from editor.stats.intervals import hit_rate
from research.harness import SAMPLER, EmbeddedModel
from research.results.single_concept import REMOVALS, all_removals

RecordType = TypeVar("RecordType", bound=BaseModel)
METHODS: tuple[MethodName, ...] = ("default", "diff_quickfix")
MAX_STYLES = 4
TARGET_PROMPTS, CONTROLS, PROMPTS_PER_CONTROL = 6, 12, 2
"""Number of prompts about the concept, of control concepts, and of prompts about each control."""


def enable_attack(budget: int) -> Attack:
    """Return an enabled attack with three images."""
    return Attack(enabled=True, budget=budget, images=3)


ATTACKS = Attacks(
    names=enable_attack(100),
    ring_a_bell_transfer=enable_attack(600),
    ring_a_bell_adaptive=enable_attack(600),
    adversarial_key=enable_attack(200),
    inversion_text=enable_attack(30),
    inversion_images=enable_attack(25),
    noise_probe=enable_attack(8),
)
FINE_TUNING = Attacks(resurgence=Attack(enabled=True, budget=100, images=8))
"""Takes a minute, and runs on the default's weights only."""


class RemovalRow(BaseModel):
    """One removal under one method."""

    method: MethodName
    concept: str
    kind: ConceptKind
    destination: str
    target_before: Rate
    target_after: Rate
    kept_before: Rate
    kept_after: Rate
    attacks: dict[str, AttackRecord]
    features: FeatureScores | None = None


class AttackRecords(BaseModel):
    """Attack records by name."""

    records: dict[str, AttackRecord]


class RemovalStudy:
    """The measurement of one removal under one method, with a file for each finished part."""

    def __init__(
        self,
        model: EmbeddedModel,
        removal: ResolvedRemoval,
        method: MethodName,
        cache_by_concept: dict[str, dict[str, object]],
    ) -> None:
        self.model, self.removal, self.method = model, removal, method
        self.folder = model.cache.parent / "judged"
        self.name = f"{method}-{removal.concept.name.replace(' ', '-')}"
        self.cache = cache_by_concept.setdefault(removal.concept.name, {})

    @cached_property
    def context(self) -> AttackContext:
        """The edit with everything that attacks need."""
        edits = edit_encoder(self.model.encoder, self.model.prompt_builder, [self.removal], MethodConfig(self.method))
        updates = [done.update for done in edits]
        before = ModelVariant(self.model.pipeline, SAMPLER, self.model.prompt_builder)
        return AttackContext(
            self.removal, 0, [self.removal], before, make_edited_variant(before, updates), updates, self.model.judge,
            self.model.base_images, self.cache,
        )  # fmt: skip

    @cached_property
    def targets(self) -> list[Phrase]:
        """Prompts about the concept, half of them in held-out wordings."""
        return self.context.concept_prompts[:TARGET_PROMPTS]

    @cached_property
    def controls(self) -> list[Phrase]:
        """Prompts about concepts that no removal of the table names."""
        styles = [style for style in STYLES if style != self.removal.concept.subject]
        by_object = (
            self.model.prompt_builder.in_held_out_wordings(Phrase("", name, style) for style in styles)
            for name in control_names()
        )
        return [
            phrase
            for number, phrases in enumerate(by_object)
            for phrase in rotate(phrases, number)[:PROMPTS_PER_CONTROL]
        ]

    @cached_property
    def images(self) -> tuple[list[Image], list[Image]]:
        """Images of targets and controls before and after, stored on disk for the feature scores."""
        path = self.folder / f"{self.name}.npz"
        if not path.exists():
            specs = [ImageSpec(phrase.text(), 0) for phrase in (*self.targets, *self.controls)]
            before, variant = self.context.base_images(specs), self.context.after
            after = variant.generate(variant.encode_prompts([s.prompt for s in specs]), [s.seed for s in specs])
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, before=np.stack(before), after=np.stack(after))
        images = np.load(path)
        return list(images["before"]), list(images["after"])

    def make_row(self) -> RemovalRow:
        """Return the row; parts that were measured before are loaded."""
        row = self.load_or_measure("attacks", RemovalRow, self.run_attacks)
        if self.method == "default":
            row.attacks |= self.load_or_measure("resurgence", AttackRecords, self.run_fine_tuning).records
        scores = self.load_or_measure("features", FeatureScores, self.score_features)
        return row.model_copy(
            update={"attacks": shorten_attacks(row.attacks), "features": shorten_feature_scores(scores)}
        )

    def load_or_measure(
        self, name: str, record_type: type[RecordType], measure_part: Callable[[], RecordType]
    ) -> RecordType:
        """Load a part of the row from its file, or measure and save it."""
        path = self.folder / f"{self.name}.{name}.json"
        if not path.exists():
            write_bytes(path, measure_part().model_dump_json().encode())
        return record_type.model_validate_json(path.read_bytes())

    def run_fine_tuning(self) -> AttackRecords:
        """Run the attack by fine-tuning."""
        return AttackRecords(records={one.name: one for one in run_attacks([self.context], FINE_TUNING, seed=0)})

    def score_features(self) -> FeatureScores:
        """Score the images by features of the UNet."""
        return score_features(self.context, load_instruments(), PairedImages(self.targets, self.controls, *self.images))

    def run_attacks(self) -> RemovalRow:
        """Generate images, judge them, and run the attacks."""
        concept, (before, after), count = self.removal.concept, self.images, len(self.targets)

        def target_rate(images: Sequence[Image]) -> Rate:
            return hit_rate(self.model.judge_hits(images[:count], self.targets, concept.kind))

        def control_rate(images: Sequence[Image]) -> Rate:
            return hit_rate(self.model.judge_hits(images[count:], self.controls, "object"))

        records = run_attacks([self.context], ATTACKS, seed=0)
        return RemovalRow(
            method=self.method,
            concept=concept.name,
            kind=concept.kind,
            destination=self.removal.destination.words,
            target_before=target_rate(before),
            target_after=target_rate(after),
            kept_before=control_rate(before),
            kept_after=control_rate(after),
            attacks={record.name: record for record in records},
        )


def shorten_attacks(records: dict[str, AttackRecord]) -> dict[str, AttackRecord]:
    """Drop the fields that are the same for every removal."""
    return {name: record.model_copy(update={"source": "", "tells": ""}) for name, record in records.items()}


def shorten_feature_scores(scores: FeatureScores) -> FeatureScores:
    """Drop single features and controls."""

    def without_controls(residual: Residual | None) -> Residual | None:
        return residual and residual.model_copy(update={"controls": []})

    sae = [
        one.model_copy(
            update={
                "changed": [],
                "residual": without_controls(one.residual),
                "probe": without_controls(one.probe),
            }
        )
        for one in scores.sae
    ]
    return FeatureScores(sae=tuple(sae), diffc=scores.diffc)


def rotate(items: Sequence[Phrase], by: int) -> list[Phrase]:
    """Rotate a sequence to the left."""
    start = by % len(items)
    return [*items[start:], *items[:start]]


def control_names() -> list[str]:
    """Return objects that are neither a concept nor a destination of the table."""
    used = {word for names in REMOVALS.values() for pair in names.items() for word in pair}
    return evenly_spaced([name for name in OBJECT_NAMES if name not in used], CONTROLS)


def make_studies(model: EmbeddedModel) -> Iterator[RemovalStudy]:
    """Yield the studies by concept, which share what depends on the base model alone."""
    cache_by_concept: dict[str, dict[str, object]] = {}
    removals = list(all_removals(model.prompt_builder))
    objects = [removal for removal in removals if removal.concept.kind == "object"]
    styles = [removal for removal in removals if removal.concept.kind == "style"][:MAX_STYLES]
    return (
        RemovalStudy(model, removal, method, cache_by_concept)
        for removal, method in product([*objects, *styles], METHODS)
    )


def measure(model: EmbeddedModel) -> Iterator[RemovalRow]:
    """Measure every row."""
    for study in make_studies(model):
        yield study.make_row()
