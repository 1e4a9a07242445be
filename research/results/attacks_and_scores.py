"""Every score and every attack on single removals: the base model, the released procedure, the default."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import product
from typing import TypeVar

import numpy as np
from pydantic import BaseModel

from api_schemas.attacks import Attack, AttackRecord, Attacks, Rate
from api_schemas.feature_scores import FeatureScores, Residual
from editor.emoji.vocabulary import OBJECT_NAMES, STYLES
from editor.generation.config import Image, ImageSpec
from editor.io.atomic import write_bytes
from editor.judging.attacks import AttackContext, ModelVariant, make_edited_variant, run_attacks
from editor.judging.feature_scores.embedded_instruments import load_instruments
from editor.judging.feature_scores.evaluate import PairedImages, score_features
from editor.methods.config import MethodConfig, Preset
from editor.methods.default import edit_encoder
from editor.prompts import ResolvedRemoval
from editor.prompts.concepts import ConceptKind, Phrase
from editor.prompts.templates import evenly_spaced
from editor.stats.intervals import hit_rate
from research.harness import SAMPLER, Studio
from research.results.single_concept import REMOVALS, removals

Made = TypeVar("Made", bound=BaseModel)
PRESETS: tuple[Preset, ...] = ("default", "paper")
STYLE_COUNT = 4
TARGETS, CONTROLS, PROMPTS = 6, 12, 2
"""Prompts about the concept; control concepts, and prompts about each."""


def wish(budget: int) -> Attack:
    """On, with three images."""
    return Attack(enabled=True, budget=budget, images=3)


ATTACKS = Attacks(
    names=wish(100),
    ring_a_bell_transfer=wish(600),
    ring_a_bell_adaptive=wish(600),
    adversarial_key=wish(200),
    inversion_text=wish(30),
    inversion_images=wish(25),
    noise_probe=wish(8),
)
RESURGENCE = Attacks(resurgence=Attack(enabled=True, budget=100, images=8))
"""Takes a minute, and is run for the default alone."""


class Row(BaseModel):
    """One removal under one preset."""

    preset: Preset
    concept: str
    kind: ConceptKind
    destination: str
    target_before: Rate
    target_after: Rate
    kept_before: Rate
    kept_after: Rate
    attacks: dict[str, AttackRecord]
    features: FeatureScores | None = None


class Tried(BaseModel):
    """Records by name."""

    records: dict[str, AttackRecord]


class Bench:
    """One removal under one preset, and where what was measured of it is kept."""

    def __init__(
        self, studio: Studio, removal: ResolvedRemoval, preset: Preset, shared: dict[str, dict[str, object]]
    ) -> None:
        self.studio, self.removal, self.preset = studio, removal, preset
        self.folder = studio.cache.parent / "judged"
        self.name = f"{preset}-{removal.concept.name.replace(' ', '-')}"
        self.shared_results = shared.setdefault(removal.concept.name, {})

    @cached_property
    def scene(self) -> AttackContext:
        """The edit, ready to be attacked."""
        done = edit_encoder(self.studio.encoder, self.studio.book, [self.removal], MethodConfig(self.preset))
        updates = [one.update for one in done]
        before = ModelVariant(self.studio.pipeline, SAMPLER, self.studio.book)
        return AttackContext(
            self.removal, 0, [self.removal], before, make_edited_variant(before, updates), updates, self.studio.judge,
            self.studio.before, self.shared_results,
        )  # fmt: skip

    @cached_property
    def targets(self) -> list[Phrase]:
        """Prompts about the concept, half of them in held-out wordings."""
        return self.scene.concept_prompts[:TARGETS]

    @cached_property
    def controls(self) -> list[Phrase]:
        """Prompts about concepts that nobody removes."""
        styles = [style for style in STYLES if style != self.removal.concept.subject]
        about = (
            self.studio.book.in_held_out_wordings(Phrase("", thing, style) for style in styles)
            for thing in control_names()
        )
        return [phrase for number, own in enumerate(about) for phrase in turned(own, number)[:PROMPTS]]

    @cached_property
    def images(self) -> tuple[list[Image], list[Image]]:
        """Of targets and controls, before and after; kept on disk, as features are read from them later."""
        path = self.folder / f"{self.name}.npz"
        if not path.exists():
            shots = [ImageSpec(phrase.text(), 0) for phrase in (*self.targets, *self.controls)]
            before = self.scene.base_images(shots)
            after = self.scene.after.generate(
                self.scene.after.encode_prompts([s.prompt for s in shots]), [s.seed for s in shots]
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, before=np.stack(before), after=np.stack(after))
        kept = np.load(path)
        return list(kept["before"]), list(kept["after"])

    def row(self) -> Row:
        """What was measured before, or measured now."""
        row = self.stored("attacks", Row, self.measured)
        row.attacks |= self.stored("resurgence", Tried, self.resurged).records if self.preset == "default" else {}
        scores = self.stored("features", FeatureScores, self.read)
        return row.model_copy(update={"attacks": brief(row.attacks), "features": in_brief(scores)})

    def stored(self, name: str, kind: type[Made], make: Callable[[], Made]) -> Made:
        """A part of the row, from its file, or made now."""
        path = self.folder / f"{self.name}.{name}.json"
        if not path.exists():
            write_bytes(path, make().model_dump_json().encode())
        return kind.model_validate_json(path.read_bytes())

    def resurged(self) -> "Tried":
        """Fine-tune and ask again."""
        return Tried(records={one.name: one for one in run_attacks([self.scene], RESURGENCE, seed=0)})

    def read(self) -> FeatureScores:
        """What features say of the images that were drawn."""
        return score_features(self.scene, load_instruments(), PairedImages(self.targets, self.controls, *self.images))

    def measured(self) -> Row:
        """Draw, judge, attack."""
        concept, (before, after), count = self.removal.concept, self.images, len(self.targets)

        def hits(images: Sequence[Image]) -> Rate:
            return hit_rate(self.studio.hits(images[:count], self.targets, concept.kind))

        def kept(images: Sequence[Image]) -> Rate:
            return hit_rate(self.studio.hits(images[count:], self.controls, "object"))

        records = run_attacks([self.scene], ATTACKS, seed=0)
        return Row(
            preset=self.preset,
            concept=concept.name,
            kind=concept.kind,
            destination=self.removal.destination.words,
            target_before=hits(before),
            target_after=hits(after),
            kept_before=kept(before),
            kept_after=kept(after),
            attacks={record.name: record for record in records},
        )


def brief(records: dict[str, AttackRecord]) -> dict[str, AttackRecord]:
    """Without what is the same for every removal."""
    return {name: record.model_copy(update={"source": "", "tells": ""}) for name, record in records.items()}


def in_brief(scores: FeatureScores) -> FeatureScores:
    """Without the single features and controls."""

    def shorter(found: Residual | None) -> Residual | None:
        return found and found.model_copy(update={"controls": []})

    sae = [
        one.model_copy(update={"changed": [], "residual": shorter(one.residual), "probe": shorter(one.probe)})
        for one in scores.sae
    ]
    return FeatureScores(sae=tuple(sae), diffc=scores.diffc)


def turned(items: Sequence[Phrase], by: int) -> list[Phrase]:
    """The same, beginning elsewhere."""
    start = by % len(items)
    return [*items[start:], *items[:start]]


def control_names() -> list[str]:
    """Objects that no removal of the table names, nor leads to."""
    taken = {word for names in REMOVALS.values() for pair in names.items() for word in pair}
    return evenly_spaced([name for name in OBJECT_NAMES if name not in taken], CONTROLS)


def benches(studio: Studio) -> Iterator[Bench]:
    """Concept by concept, so that what depends on the base model alone is found once."""
    shared: dict[str, dict[str, object]] = {}
    every = list(removals(studio.book))
    objects = [one for one in every if one.concept.kind == "object"]
    styles = [one for one in every if one.concept.kind == "style"][:STYLE_COUNT]
    return (Bench(studio, removal, preset, shared) for removal, preset in product([*objects, *styles], PRESETS))


def measure(studio: Studio) -> Iterator[Row]:
    """Every row. What is in ``build/judged`` is not measured again."""
    for bench in benches(studio):
        yield bench.row()
