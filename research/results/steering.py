"""What raising a group of CLIP features does to what is drawn."""

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
from editor.emoji.profile import PROFILE
from editor.emoji.vocabulary import BACKGROUNDS, OBJECT_NAMES, STYLES
from editor.features.clip.direction_labels import DirectionLabel, LabelledEmbeddings
from editor.features.clip.embedded import clip_sae
from editor.features.clip.image_conditioned_pipelines import generate_from_embeddings, image_conditioned_pipeline
from editor.features.clip.image_grids import ImageStrip, render_strips
from editor.features.clip.ip_adapter import attach_adapter
from editor.features.clip.steering import add_scaled, group_embedding
from editor.generation.config import Image, Sampler, native_precision
from editor.generation.sampling import load_pipeline
from editor.io.atomic import write_bytes
from editor.judging.judge import Judge, judge_class
from editor.stats.intervals import estimate_mean
from research.emoji.artwork_embeddings import SUBJECTS, artwork_embeddings, labels_of
from research.emoji.assemble import save_judge
from research.emoji.build import Build
from research.emoji_features.train_clip_sae import TOLD_BY
from research.emoji_features.train_unet_sae import held_out
from research.harness import Studio

GROUPS, SEEDS = 20, 8
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""From absent to as strong as the picture has it; a group that is made stronger still says no more."""
LEAST_AUC = 0.9
THRESHOLD = 0.25
"""Least share of a group: a picture has eight active features here, not hundreds."""
SAMPLER = Sampler(steps=8, guidance=2.0, precision=native_precision())
CACHE, TRAINED = Path("build/features"), Path("build/emoji")
SHEET = Path("docs/images/steering.webp")


class Row(BaseModel):
    """One group, in its own picture; figures are means over seeds."""

    concept: str
    picture: str
    """Where the group was found: object, style, background."""
    mass: float
    """Share of that picture's activation."""
    auc: Estimate
    """Of the group's direction, on held-out artwork."""
    looked_at: int
    """Pictures that were taken apart up to this group."""
    scores: list[float]
    """Similarity to the object at each strength."""
    rise: Estimate
    """Paired change from the least to the greatest strength."""
    others: float
    """Absolute change of the other objects' scores over the same, their mean."""
    largest_other: float
    """The largest rise of any other object's score."""
    other_clip: list[float] | None
    """Similarity by a CLIP that the adapter does not know."""

    @property
    def monotone(self) -> bool:
        """Every strength scores above the one before it."""
        return rising(self.scores)


def rising(scores: Sequence[float]) -> bool:
    """Strictly."""
    return all(low < high for low, high in pairwise(scores))


@dataclass(frozen=True)
class Found:
    """A group that stands for its picture's object."""

    named: DirectionLabel
    picture: str
    mass: float
    embedding: Tensor
    vector: Tensor
    looked_at: int

    def without(self) -> Tensor:
        """``(d,)``: its picture without it."""
        return self.embedding - self.vector


@dataclass(frozen=True)
class Trial:
    """The embedding space, the pictures in it, and what they are drawn by."""

    pipeline: object
    judge: Judge

    @cached_property
    def embedded(self) -> Tensor:
        """``(subjects, variants, d)``."""
        return artwork_embeddings(CACHE)

    @cached_property
    def labelled(self) -> LabelledEmbeddings:
        """The whole artwork, clean and rough."""
        labels = labels_of(TOLD_BY)
        return LabelledEmbeddings(
            self.embedded[:, :TOLD_BY].flatten(0, 1), {"object": labels["object"]}, ~held_out(labels)
        )

    def groups(self) -> list[Found]:
        """One of each picture, until there are enough: pictures of which no group stands for the object are passed over."""
        found: list[Found] = []
        for looked_at, place in enumerate(places(), 1):
            best = self.best(place, looked_at)
            if best.named.test_auc.value >= LEAST_AUC:
                found.append(best)
            if len(found) == GROUPS:
                break
        return found

    def best(self, place: int, looked_at: int) -> Found:
        """The group of a picture that adds most along what the picture's object has over the others."""
        own, name = (
            group_embedding(clip_sae(), self.embedded[place, 0], THRESHOLD),
            OBJECT_NAMES[SUBJECTS[place].object],
        )
        towards = self.labelled.mean_difference("object", name)
        best = max(range(len(own.grouping)), key=lambda number: float(own.group_vector(number) @ towards))
        told = self.labelled.score_label(own.group_vector(best), "object", name)
        return Found(
            told,
            described(place),
            own.grouping.masses[best],
            own.decomposition.embedding,
            own.group_vector(best),
            looked_at,
        )

    def drawn(self, found: Found) -> list[Image]:
        """A group's own picture at all strengths, from one seed after the other."""
        embeddings = add_scaled(found.vector, found.without(), STRENGTHS).repeat(SEEDS, 1)
        seeds = [seed for seed in range(SEEDS) for _ in STRENGTHS]
        return generate_from_embeddings(image_conditioned_pipeline(self.pipeline), SAMPLER, embeddings, seeds)

    def scores(self, judge: Judge, images: Sequence[Image]) -> Tensor:
        """``(seeds, strengths, objects)`` similarities, float64."""
        seen = judge.embed_images(images)
        each = [judge.class_similarity("object", seen, name) for name in OBJECT_NAMES]
        return torch.stack(each, 1).double().reshape(-1, len(STRENGTHS), len(OBJECT_NAMES))


def places() -> list[int]:
    """One subject of every object, styles and backgrounds taking turns, in an order that mixes the kinds of objects."""
    wanted = [(o, o % len(STYLES), o % len(BACKGROUNDS)) for o in range(len(OBJECT_NAMES))]
    where = {(s.object, s.style, s.background): place for place, s in enumerate(SUBJECTS)}
    mixed = sorted(range(len(wanted)), key=lambda o: (o % 5, o))
    return [where[wanted[o]] for o in mixed]


def described(place: int) -> str:
    """A subject in words."""
    subject = SUBJECTS[place]
    return f"{OBJECT_NAMES[subject.object]}, {STYLES[subject.style]}, {tuple(BACKGROUNDS)[subject.background]}"


def other_judge() -> Judge | None:
    """The CLIP that the text encoder was trained in, if its training lies there."""
    if not (TRAINED / "encoder.safetensors").exists():
        return None
    build, folder = Build(TRAINED), CACHE / "encoder"
    save_judge(folder, build.tokenizer, build.encoder)
    return judge_class("clip")(folder, PROFILE)


def measure(studio: Studio) -> Iterator[Row]:
    """Every row; writes the sheet."""
    pipeline = load_pipeline(emoji.WEIGHTS)
    attach_adapter(pipeline)
    trial, other, strips = Trial(pipeline, studio.judge), other_judge(), []
    for found in trial.groups():
        images = trial.drawn(found)
        strips.append(
            ImageStrip(found.named.name, images[: len(STRENGTHS)], [f"{strength:g}" for strength in STRENGTHS])
        )
        yield row(found, trial.scores(trial.judge, images), trial.scores(other, images) if other else None)
    write_bytes(SHEET, render_strips(strips, columns=2, kind="webp"))


def row(found: Found, scores: Tensor, other: Tensor | None) -> Row:
    """Figures from ``(seeds, strengths, objects)`` similarities."""
    own = OBJECT_NAMES.index(found.named.name)
    change = scores[:, -1] - scores[:, 0]
    rest = torch.cat([change[:, :own], change[:, own + 1 :]], 1).mean(0)
    return Row(
        concept=found.named.name,
        picture=found.picture,
        mass=found.mass,
        auc=found.named.test_auc,
        looked_at=found.looked_at,
        scores=scores[:, :, own].mean(0).tolist(),
        rise=estimate_mean(change[:, own].tolist()),
        others=float(rest.abs().mean()),
        largest_other=float(rest.max()),
        other_clip=None if other is None else other[:, :, own].mean(0).tolist(),
    )


def page(rows: list[Row]) -> str:
    """The section."""
    return "\n".join([TEXT, summary(rows), "", COLUMNS, *(line(one) for one in rows), "", PICTURE])


def summary(rows: list[Row]) -> str:
    """How many groups do what they should."""
    monotone, certain = sum(one.monotone for one in rows), sum(one.rise.low > 0 for one in rows)
    less = sum(one.others < one.rise.value for one in rows)
    most = sum(one.largest_other < one.rise.value for one in rows)
    known = [one.other_clip for one in rows if one.other_clip]
    elsewhere = f" By a CLIP that the adapter does not know, {sum(map(rising, known))} do." if known else ""
    return (
        f"**{monotone} of {len(rows)} groups raise the judge's score of their object with every strength**; for {certain} the "
        f"interval of the rise lies above 0.{elsewhere} Beside {less} of them the other objects' scores change less, in their "
        f"mean absolute value; beside {most} none rises as much. {rows[-1].looked_at} pictures were taken apart."
    )


def line(one: Row) -> str:
    """A row of the table."""
    scores = " | ".join(f"{score:.3f}" for score in one.scores)
    other = "" if not one.other_clip else "yes" if rising(one.other_clip) else "no"
    return (
        f"| {one.concept} | {one.picture} | {one.mass:.0%} | {one.auc.value:.3f} | {scores} | {one.rise.value:+.3f} "
        f"({one.rise.low:+.3f} to {one.rise.high:+.3f}) | {one.others:.3f} | {one.largest_other:+.3f} "
        f"| {'yes' if one.monotone else 'no'} | {other} |"
    )


TEXT = f"""## Steering by groups of CLIP features

A picture of an object is taken apart by the autoencoder of the judge's image embeddings, and its features are grouped (each
group at least {THRESHOLD:.0%} of the activation; [CLIP features](../how-to/clip-features.md)). Of its groups, the one is taken
that adds most along what the object's training pictures have over the others'; *AUC* is of its direction on held-out
pictures, and a picture whose group is under {LEAST_AUC:g} is passed over. The group is then raised in its own picture, from
absent to its own activation; all else stays, the reconstruction error too. Each strength is drawn by the IP-Adapter from
{SEEDS} seeds ({SAMPLER.steps} steps, guidance {SAMPLER.guidance:g}).

*Scores*: mean cosine of the judge to the object, at strengths 0 to 1. *Rise*: their paired change from 0 to 1, with its 95 %
interval over the seeds. *Others*: mean absolute change of the other 95 objects' scores; *most*: the largest rise among them.
The adapter is conditioned on the judge's own embeddings, so its scores are no independent witness; the last column asks another
CLIP.
"""
COLUMNS = """| object | found in | mass | AUC | 0 | 0.25 | 0.5 | 0.75 | 1 | rise | others | most | monotone | other CLIP |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"""
PICTURE = "![Each group in its own picture, its strength growing from left to right](../images/steering.webp)"
