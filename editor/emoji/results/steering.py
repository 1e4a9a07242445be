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
from editor.emoji.assemble import save_judge
from editor.emoji.build import Build
from editor.emoji.embeddings import SUBJECTS, artwork_embeddings, labels_of
from editor.emoji.features.clip_sae import TOLD_BY, clip_sae
from editor.emoji.features.unet_sae import held_out
from editor.emoji.ip_adapter import attach
from editor.emoji.profile import PROFILE
from editor.emoji.results.studio import Studio
from editor.emoji.vocabulary import BACKGROUNDS, OBJECT_NAMES, STYLES
from editor.features.clip.conditioned import draw_embeddings, image_conditioned
from editor.features.clip.naming import Labelled, Named
from editor.features.clip.sheets import Strip, sheet
from editor.features.clip.steering import STRENGTHS, along, grouped
from editor.judging.judge import Image, Judge, judge_class, open_judge
from editor.judging.sampling import Sampler, load_pipeline, native_precision
from editor.judging.statistics import estimate
from editor.prompts.contexts import evenly
from editor.publishing.atomic import write_bytes

GROUPS, BASES = 20, 8
LEAST_AUC = 0.9
THRESHOLD = 0.2
"""Least share of a group: a picture has eight active features here, not hundreds."""
SAMPLER = Sampler(steps=12, guidance=2.0, precision=native_precision())
CACHE, TRAINED = Path("build/features"), Path("build/emoji")
SHEET = Path("docs/images/steering.png")


class Row(BaseModel):
    """One group, raised in pictures that show something else."""

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
    """Mean similarity to the concept at each strength."""
    rise: list[Estimate]
    """Paired change from strength 0 at each of the others."""
    others: float
    """Mean absolute change of the other objects' scores at the greatest strength."""
    largest_other: float
    """The largest rise of any other object's mean score there."""
    other_clip: list[float] | None
    """Mean similarity by a CLIP that the adapter does not know."""

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

    named: Named
    picture: str
    mass: float
    vector: Tensor
    looked_at: int


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
    def labelled(self) -> Labelled:
        """The whole artwork, clean and rough."""
        labels = labels_of(TOLD_BY)
        return Labelled(self.embedded[:, :TOLD_BY].flatten(0, 1), {"object": labels["object"]}, ~held_out(labels))

    def groups(self) -> list[Found]:
        """One of each picture, until there are enough: pictures of which no group stands for the object are passed over."""
        found: list[Found] = []
        for looked_at, place in enumerate(places(), 1):
            best = self.best(place, looked_at)
            if best.named.test.value >= LEAST_AUC:
                found.append(best)
            if len(found) == GROUPS:
                break
        return found

    def best(self, place: int, looked_at: int) -> Found:
        """The group of a picture that tells the picture's object best."""
        own, name = grouped(clip_sae(), self.embedded[place, 0], THRESHOLD), OBJECT_NAMES[SUBJECTS[place].object]
        each = [self.labelled.told(own.vector(number), "object", name) for number in range(len(own.grouping))]
        best = max(range(len(each)), key=lambda number: each[number].train)
        return Found(each[best], described(place), own.grouping.masses[best], own.vector(best), looked_at)

    def bases(self, without: Sequence[str]) -> Tensor:
        """``(n, d)``: clean pictures of other objects, styles and backgrounds taking turns."""
        free = [place for place in places() if OBJECT_NAMES[SUBJECTS[place].object] not in without]
        return self.embedded[evenly(free, BASES), 0]

    def drawn(self, embeddings: Tensor) -> list[Image]:
        """Each base at all strengths from one seed: ``(bases, strengths, d)``, in this order."""
        seeds = [base for base in range(len(embeddings)) for _ in range(embeddings.shape[1])]
        return draw_embeddings(image_conditioned(self.pipeline), SAMPLER, embeddings.flatten(0, 1), seeds)

    def scores(self, judge: Judge, images: Sequence[Image]) -> Tensor:
        """``(bases, strengths, objects)`` similarities, float64."""
        seen = judge.images(images)
        each = [judge.similarity("object", seen, name) for name in OBJECT_NAMES]
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
    attach(pipeline)
    trial, other = Trial(pipeline, open_judge(emoji.JUDGE, emoji.WEIGHTS, PROFILE)), other_judge()
    groups = trial.groups()
    bases = trial.bases([found.named.name for found in groups])
    strips = []
    for number, found in enumerate(groups):
        images = trial.drawn(along(found.vector, bases, STRENGTHS))
        strips.append(strip(found, images, number % BASES))
        write_bytes(SHEET, sheet(strips, columns=2))
        yield row(found, trial.scores(trial.judge, images), trial.scores(other, images) if other else None)


def row(found: Found, scores: Tensor, other: Tensor | None) -> Row:
    """Figures from ``(bases, strengths, objects)`` similarities."""
    own = OBJECT_NAMES.index(found.named.name)
    changes = scores - scores[:, :1]
    last = torch.cat([changes[:, -1, :own], changes[:, -1, own + 1 :]], 1).mean(0)
    return Row(
        concept=found.named.name,
        picture=found.picture,
        mass=found.mass,
        auc=found.named.test,
        looked_at=found.looked_at,
        scores=scores[:, :, own].mean(0).tolist(),
        rise=[estimate(changes[:, strength, own].tolist()) for strength in range(1, len(STRENGTHS))],
        others=float(last.abs().mean()),
        largest_other=float(last.max()),
        other_clip=None if other is None else other[:, :, own].mean(0).tolist(),
    )


def strip(found: Found, images: Sequence[Image], base: int) -> Strip:
    """One of the bases at all strengths."""
    own = images[base * len(STRENGTHS) : (base + 1) * len(STRENGTHS)]
    return Strip(found.named.name, own, [f"{strength:g}" for strength in STRENGTHS])


def page(rows: list[Row]) -> str:
    """The section."""
    return "\n".join([TEXT, summary(rows), "", COLUMNS, *(line(one) for one in rows), "", PICTURE])


def summary(rows: list[Row]) -> str:
    """How many, in words."""
    monotone = sum(one.monotone for one in rows)
    less = sum(one.others < one.rise[-1].value for one in rows)
    most = sum(one.largest_other < one.rise[-1].value for one in rows)
    known = [one.other_clip for one in rows if one.other_clip]
    elsewhere = (
        f" By a CLIP that the adapter does not know: {sum(map(rising, known))} of {len(known)}." if known else ""
    )
    return (
        f"**{monotone} of {len(rows)} groups raise the judge's score of their object with every strength.**{elsewhere} "
        f"In {less} the other objects' scores change less on average, in {most} none of them rises as much. "
        f"To find {len(rows)} groups, {rows[-1].looked_at} pictures were taken apart."
    )


def line(one: Row) -> str:
    """A row of the table."""
    scores = " | ".join(f"{score:.3f}" for score in one.scores)
    last = one.rise[-1]
    other = "" if not one.other_clip else "yes" if rising(one.other_clip) else "no"
    return (
        f"| {one.concept} | {one.picture} | {one.auc.value:.3f} | {scores} | {last.value:+.3f} ({last.low:+.3f} to "
        f"{last.high:+.3f}) | {one.others:.3f} | {one.largest_other:+.3f} | {'yes' if one.monotone else 'no'} | {other} |"
    )


TEXT = f"""## Steering by groups of CLIP features

A picture of an object is taken apart by the autoencoder of the judge's image embeddings, and its features are grouped (each
group at least {THRESHOLD:.0%} of the activation; [clip-features.md](clip-features.md)). Of its groups, the one is taken along
whose direction the object's artwork lies furthest: chosen on the training pictures, with the AUC of held-out ones below; a
picture whose best is under {LEAST_AUC:g} is passed over. The group is then added to {BASES} pictures of other objects, in five
strengths of its own activation, and drawn by the IP-Adapter from one seed for each picture ({SAMPLER.steps} steps, guidance
{SAMPLER.guidance:g}).

*Score*: mean cosine of the judge to the object. *Rise*: paired change from strength 0 to 2, with its 95 % interval over the
{BASES} pictures. *Others*: mean absolute change of the other 95 objects' scores, and the largest rise among them. The adapter
is conditioned on the judge's own embeddings, so its scores are no independent witness; the last column asks another CLIP."""
COLUMNS = """| object | found in | AUC | 0 | 0.5 | 1 | 1.5 | 2 | rise | others | largest other | monotone | other CLIP |
|---|---|---|---|---|---|---|---|---|---|---|---|---|"""
PICTURE = "![Strips: one picture with each group added, strength growing from left to right](images/steering.png)"
