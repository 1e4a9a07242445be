"""Effect of steering a group of CLIP features on generated images: ``python -m research.results steering``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor

from api_schemas.report import Estimate
from editor import emoji
from editor.emoji.composites import Subject
from editor.emoji.profile import PROFILE
from editor.emoji.vocabulary import BACKGROUNDS, OBJECT_NAMES, STYLES
from editor.features.clip.direction_labels import DirectionLabel, LabelledEmbeddings
from editor.features.clip.embedded import clip_sae
from editor.features.clip.image_conditioned_pipelines import generate_from_embeddings, image_conditioned_pipeline
from editor.features.clip.image_grids import ImageStrip, render_strips
from editor.features.clip.ip_adapter import attach_adapter
from editor.features.clip.steering import add_scaled, group_embedding
from editor.generation.config import Image, Sampler, native_precision
from editor.generation.pipelines import load_pipeline
from editor.io.atomic import write_bytes
from editor.judging.judge import Judge, judge_class
from editor.stats.intervals import estimate_mean
from research.emoji.artwork_embeddings import SUBJECTS, artwork_embeddings, make_labels
from research.emoji.assemble import save_judge
from research.emoji.build import Build
from research.emoji_features.train_clip_sae import EVALUATED_VARIANTS
from research.emoji_features.train_unet_sae import held_out_mask
from research.harness import EmbeddedModel

GROUPS, SEEDS = 20, 8
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""From absent to the group's activation in the picture; larger strengths add nothing."""
MIN_AUC = 0.9
MIN_GROUP_MASS = 0.25
"""Minimal share of a group in the activation. It is large because a picture has only eight active features."""
SAMPLER = Sampler(steps=8, guidance=2.0, precision=native_precision())
CACHE_FOLDER, TRAINING_FOLDER = Path("build/features"), Path("build/emoji")
SHEET_FILE = Path("docs/images/steering.webp")


class SteeringRow(BaseModel):
    """One group steered in its own picture; figures are means over seeds."""

    concept: str
    picture: str
    """Object, style and background of the picture that has the group."""
    mass: float
    """The group's share of the picture's activation."""
    auc: Estimate
    """AUC of the group's direction on held-out artwork."""
    looked_at: int
    """Number of pictures decomposed up to this group."""
    scores: list[float]
    """Similarity to the object at each strength."""
    rise: Estimate
    """Paired change from the smallest to the largest strength."""
    others: float
    """Mean absolute change of the other objects' scores."""
    largest_other: float
    """Largest rise of another object's score."""
    other_clip: list[float] | None
    """Similarity by a CLIP that the adapter was not trained with."""

    @property
    def monotone(self) -> bool:
        """Whether every strength scores higher than the previous one."""
        return is_increasing(self.scores)


def is_increasing(scores: Sequence[float]) -> bool:
    """Return whether scores increase strictly."""
    return all(low < high for low, high in pairwise(scores))


@dataclass(frozen=True)
class SteeredGroup:
    """A group of features that represents its picture's object."""

    named: DirectionLabel
    picture: str
    mass: float
    embedding: Tensor
    vector: Tensor
    looked_at: int

    def embedding_without_group(self) -> Tensor:
        """Return the picture's embedding without the group, ``(d,)``."""
        return self.embedding - self.vector


@dataclass(frozen=True)
class SteeringStudy:
    """The artwork in the judge's embedding space, and the pipeline that generates images from embeddings."""

    pipeline: object

    @cached_property
    def embedded(self) -> Tensor:
        """Image embeddings of the artwork, ``(subjects, variants, d)``."""
        return artwork_embeddings(CACHE_FOLDER)

    @cached_property
    def labelled(self) -> LabelledEmbeddings:
        """The embeddings of the whole artwork with their object labels."""
        labels = make_labels(EVALUATED_VARIANTS)
        return LabelledEmbeddings(
            self.embedded[:, :EVALUATED_VARIANTS].flatten(0, 1), {"object": labels["object"]}, ~held_out_mask(labels)
        )

    def find_groups(self) -> list[SteeredGroup]:
        """Return one group per picture until there are enough; pictures without a group for their object are skipped."""
        groups: list[SteeredGroup] = []
        for number, subject in enumerate(ordered_subjects(), 1):
            best = self.find_best_group(subject, number)
            if best.named.test_auc.value >= MIN_AUC:
                groups.append(best)
            if len(groups) == GROUPS:
                break
        return groups

    def find_best_group(self, subject: int, number: int) -> SteeredGroup:
        """Return the picture's group that contributes most in the direction from other objects to the picture's object.

        Args:
            subject: index of the picture's subject.
            number: how many pictures have been decomposed, this one included.
        """
        groups, name = (
            group_embedding(clip_sae(), self.embedded[subject, 0], MIN_GROUP_MASS),
            OBJECT_NAMES[SUBJECTS[subject].object],
        )
        direction = self.labelled.mean_difference("object", name)
        best = max(range(len(groups.grouping)), key=lambda i: float(groups.group_vector(i) @ direction))
        return SteeredGroup(
            named=self.labelled.score_label(groups.group_vector(best), "object", name),
            picture=describe_subject(SUBJECTS[subject]),
            mass=groups.grouping.masses[best],
            embedding=groups.decomposition.embedding,
            vector=groups.group_vector(best),
            looked_at=number,
        )

    def generate(self, group: SteeredGroup) -> list[Image]:
        """Generate a group's own picture at all strengths, seed by seed."""
        embeddings = add_scaled(group.vector, group.embedding_without_group(), STRENGTHS).repeat(SEEDS, 1)
        seeds = [seed for seed in range(SEEDS) for _ in STRENGTHS]
        return generate_from_embeddings(image_conditioned_pipeline(self.pipeline), SAMPLER, embeddings, seeds)


def object_similarities(judge: Judge, images: Sequence[Image]) -> Tensor:
    """Return the judge's similarities of images and objects, ``(seeds, strengths, objects)``, float64."""
    embedded = judge.embed_images(images)
    each = [judge.class_similarity("object", embedded, name) for name in OBJECT_NAMES]
    return torch.stack(each, 1).double().reshape(-1, len(STRENGTHS), len(OBJECT_NAMES))


def ordered_subjects() -> list[int]:
    """Return one subject per object, cycling through styles and backgrounds, in an order that mixes the kinds of objects."""
    wanted = [(o, o % len(STYLES), o % len(BACKGROUNDS)) for o in range(len(OBJECT_NAMES))]
    index_of = {(s.object, s.style, s.background): index for index, s in enumerate(SUBJECTS)}
    mixed = sorted(range(len(wanted)), key=lambda o: (o % 5, o))
    return [index_of[wanted[o]] for o in mixed]


def describe_subject(subject: Subject) -> str:
    """Describe a subject."""
    return f"{OBJECT_NAMES[subject.object]}, {STYLES[subject.style]}, {tuple(BACKGROUNDS)[subject.background]}"


def open_other_judge() -> Judge | None:
    """Return the CLIP that the text encoder was trained in, if its training checkpoint exists."""
    if not (TRAINING_FOLDER / "encoder.safetensors").exists():
        return None
    build, folder = Build(TRAINING_FOLDER), CACHE_FOLDER / "encoder"
    save_judge(folder, build.tokenizer, build.encoder)
    return judge_class("clip")(folder, PROFILE)


def measure(model: EmbeddedModel) -> Iterator[SteeringRow]:
    """Measure every row, and write the sheet of images."""
    pipeline = load_pipeline(emoji.WEIGHTS)
    attach_adapter(pipeline)
    study, other, strips = SteeringStudy(pipeline), open_other_judge(), []
    for group in study.find_groups():
        images = study.generate(group)
        strips.append(
            ImageStrip(group.named.name, images[: len(STRENGTHS)], [f"{strength:g}" for strength in STRENGTHS])
        )
        other_scores = object_similarities(other, images) if other else None
        yield make_row(group, object_similarities(model.judge, images), other_scores)
    write_bytes(SHEET_FILE, render_strips(strips, columns=2, kind="webp"))


def make_row(group: SteeredGroup, scores: Tensor, other: Tensor | None) -> SteeringRow:
    """Return the figures of ``(seeds, strengths, objects)`` similarities by the judge and by another CLIP."""
    own = OBJECT_NAMES.index(group.named.name)
    change = scores[:, -1] - scores[:, 0]
    rest = torch.cat([change[:, :own], change[:, own + 1 :]], 1).mean(0)
    return SteeringRow(
        concept=group.named.name,
        picture=group.picture,
        mass=group.mass,
        auc=group.named.test_auc,
        looked_at=group.looked_at,
        scores=scores[:, :, own].mean(0).tolist(),
        rise=estimate_mean(change[:, own].tolist()),
        others=float(rest.abs().mean()),
        largest_other=float(rest.max()),
        other_clip=None if other is None else other[:, :, own].mean(0).tolist(),
    )


def render(rows: list[SteeringRow]) -> str:
    """Render the section."""
    return "\n".join([TEXT, render_summary(rows), "", COLUMNS, *(render_row(row) for row in rows), "", SHEET_LINK])


def render_summary(rows: list[SteeringRow]) -> str:
    """Render how many groups have the expected effect."""
    monotone, certain = sum(row.monotone for row in rows), sum(row.rise.low > 0 for row in rows)
    less = sum(row.others < row.rise.value for row in rows)
    most = sum(row.largest_other < row.rise.value for row in rows)
    known = [row.other_clip for row in rows if row.other_clip]
    elsewhere = (
        f" By a CLIP that the adapter was not trained with, {sum(map(is_increasing, known))} do." if known else ""
    )
    return (
        f"**{monotone} of {len(rows)} groups raise the judge's score of their object with every strength**; for {certain} the "
        f"interval of the rise is above 0.{elsewhere} For {less} of them the mean absolute change of the other objects' scores "
        f"is smaller than the rise; for {most} no other object's score rises as much. {rows[-1].looked_at} pictures were "
        "decomposed."
    )


def render_row(row: SteeringRow) -> str:
    """Render a row of the table."""
    scores = " | ".join(f"{score:.3f}" for score in row.scores)
    other = "" if not row.other_clip else "yes" if is_increasing(row.other_clip) else "no"
    return (
        f"| {row.concept} | {row.picture} | {row.mass:.0%} | {row.auc.value:.3f} | {scores} | {row.rise.value:+.3f} "
        f"({row.rise.low:+.3f} to {row.rise.high:+.3f}) | {row.others:.3f} | {row.largest_other:+.3f} "
        f"| {'yes' if row.monotone else 'no'} | {other} |"
    )


TEXT = f"""## Steering by groups of CLIP features

The autoencoder of the judge's image embeddings decomposes a picture of an object into features, which are grouped (each group
has at least {MIN_GROUP_MASS:.0%} of the activation; [CLIP features](../how-to/clip-features.md)). The steered group is the one
that contributes most in the direction from the other objects' training pictures to the object's; *AUC* is that of its direction
on held-out pictures, and pictures whose group is below {MIN_AUC:g} are skipped. The group is then raised in its own picture,
from absent to its own activation; everything else stays, the reconstruction error included. The IP-Adapter generates images for
each strength from {SEEDS} seeds ({SAMPLER.steps} steps, guidance {SAMPLER.guidance:g}).

*Scores*: mean cosine of the judge to the object, at strengths 0 to 1. *Rise*: their paired change from 0 to 1, with its 95 %
interval over the seeds. *Others*: mean absolute change of the other 95 objects' scores; *most*: the largest rise among them.
The adapter is conditioned on the judge's own embeddings, so the judge's scores are not independent evidence; the last column is
by another CLIP.
"""
COLUMNS = """| object | found in | mass | AUC | 0 | 0.25 | 0.5 | 0.75 | 1 | rise | others | most | monotone | other CLIP |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"""
SHEET_LINK = "![Each group in its own picture; its strength increases from left to right](../images/steering.webp)"
