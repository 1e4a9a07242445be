"""What raising a group of CLIP features does to what is drawn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal

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
from editor.features.clip.steering import STRENGTHS, along, base_of, grouped
from editor.judging.judge import Image, Judge, judge_class, open_judge
from editor.judging.sampling import Sampler, load_pipeline, native_precision
from editor.judging.statistics import estimate
from editor.prompts.contexts import evenly
from editor.publishing.atomic import write_bytes

GROUPS, EACH = 20, 4
LEAST_AUC = 0.9
THRESHOLD = 0.2
"""Least share of a group: a picture has eight active features here, not hundreds."""
SAMPLER = Sampler(steps=8, guidance=2.0, precision=native_precision())
CACHE, TRAINED = Path("build/features"), Path("build/emoji")
SHEETS = Path("docs/images")
Way = Literal["own"]
WAYS: dict[Way, str] = {"own": "in its own picture"}
"""Where a group is raised."""


class Raised(BaseModel):
    """A group in five strengths; figures are means over pictures or seeds."""

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


class Row(BaseModel):
    """One group."""

    concept: str
    picture: str
    """Where the group was found: object, style, background."""
    mass: float
    """Share of that picture's activation."""
    auc: Estimate
    """Of the group's direction, on held-out artwork."""
    looked_at: int
    """Pictures that were taken apart up to this group."""
    ways: dict[Way, Raised]


def rising(scores: Sequence[float]) -> bool:
    """Strictly."""
    return all(low < high for low, high in pairwise(scores))


@dataclass(frozen=True)
class Found:
    """A group that stands for its picture's object."""

    named: Named
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
        return Found(
            each[best], described(place), own.grouping.masses[best], own.parts.embedding, own.vector(best), looked_at
        )

    def bases(self, found: Found, all_found: Sequence[Found]) -> dict[Way, Tensor]:
        """``(n, d)`` embeddings that a group is added to: the same for all seeds, or clean pictures of other objects."""
        return {"own": found.without().expand(EACH, -1)}

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
    """Every row; writes the sheets."""
    pipeline = load_pipeline(emoji.WEIGHTS)
    attach(pipeline)
    trial, other = Trial(pipeline, open_judge(emoji.JUDGE, emoji.WEIGHTS, PROFILE)), other_judge()
    groups, strips = trial.groups(), {way: list[Strip]() for way in WAYS}
    for number, found in enumerate(groups):
        ways: dict[Way, Raised] = {}
        for way, bases in trial.bases(found, groups).items():
            images = trial.drawn(along(found.vector, bases, STRENGTHS))
            ways[way] = raised(found, trial.scores(trial.judge, images), trial.scores(other, images) if other else None)
            strips[way].append(strip(found, images, number % EACH))
            write_bytes(SHEETS / f"steering-{way}.webp", sheet(strips[way], columns=2, kind="webp"))
        yield Row(
            concept=found.named.name,
            picture=found.picture,
            mass=found.mass,
            auc=found.named.test,
            looked_at=found.looked_at,
            ways=ways,
        )


def raised(found: Found, scores: Tensor, other: Tensor | None) -> Raised:
    """Figures from ``(bases, strengths, objects)`` similarities."""
    own = OBJECT_NAMES.index(found.named.name)
    change = scores[:, -1] - scores[:, 0]
    rest = torch.cat([change[:, :own], change[:, own + 1 :]], 1).mean(0)
    return Raised(
        scores=scores[:, :, own].mean(0).tolist(),
        rise=estimate(change[:, own].tolist()),
        others=float(rest.abs().mean()),
        largest_other=float(rest.max()),
        other_clip=None if other is None else other[:, :, own].mean(0).tolist(),
    )


def strip(found: Found, images: Sequence[Image], base: int) -> Strip:
    """One of the bases at all strengths."""
    own = images[base * len(STRENGTHS) : (base + 1) * len(STRENGTHS)]
    return Strip(found.named.name, own, [f"{strength:g}" for strength in STRENGTHS])


def page(rows: list[Row]) -> str:
    """The section."""
    parts = [TEXT, COUNTS, *(count(way, rows) for way in WAYS), ""]
    parts += [f"To find {len(rows)} groups, {rows[-1].looked_at} pictures were taken apart.\n", COLUMNS]
    parts += [*(line(one) for one in rows), ""]
    parts += [
        f"![Strips of each group, {where}, strength growing](images/steering-{way}.webp)\n"
        for way, where in WAYS.items()
    ]
    return "\n".join(parts).rstrip()


def count(way: Way, rows: list[Row]) -> str:
    """How many groups do what they should."""
    each = [one.ways[way] for one in rows]
    known = [one.other_clip for one in each if one.other_clip]
    less = sum(one.others < one.rise.value for one in each)
    most = sum(one.largest_other < one.rise.value for one in each)
    certain = sum(one.rise.low > 0 for one in each)
    cells = (sum(one.monotone for one in each), certain, less, most, f"{sum(map(rising, known))} of {len(known)}")
    return f"| {WAYS[way]} | {' | '.join(map(str, cells))} |"


def line(one: Row) -> str:
    """A row of the table."""
    own, last = one.ways["own"], one.ways["own"].rise
    scores = " | ".join(f"{score:.3f}" for score in own.scores)
    ways = " | ".join("yes" if raised.monotone else "no" for raised in one.ways.values())
    return (
        f"| {one.concept} | {one.picture} | {one.auc.value:.3f} | {scores} | {last.value:+.3f} ({last.low:+.3f} to "
        f"{last.high:+.3f}) | {own.others:.3f} | {ways} |"
    )


TEXT = f"""## Steering by groups of CLIP features

A picture of an object is taken apart by the autoencoder of the judge's image embeddings, and its features are grouped (each
group at least {THRESHOLD:.0%} of the activation; [clip-features.md](clip-features.md)). Of its groups, the one is taken along
whose direction the object's artwork lies furthest: chosen on the training pictures, with the AUC of held-out ones below; a
picture whose best is under {LEAST_AUC:g} is passed over. The group is then raised in five strengths, from 0 to twice its own
activation: in its own picture (all else stays, the reconstruction error too), on the embedding of nothing in particular, and
in pictures of other objects. {EACH} seeds, or {EACH} pictures with a seed each, are drawn by the IP-Adapter
({SAMPLER.steps} steps, guidance {SAMPLER.guidance:g}).

*Monotone*: the judge's mean score of the object, a cosine, rises with every strength. *Certain*: the 95 % interval of its
paired rise from strength 0 to 2 lies above 0. *Others less*: the other 95 objects' scores change less, in their mean absolute
value; *it most*: none of them rises as much. The adapter is conditioned on the judge's own embeddings, so its scores are no
independent witness; the last column counts the monotone ones by another CLIP.
"""
COUNTS = f"""| raised | monotone, of {GROUPS} | certain | others less | it most | monotone, other CLIP |
|---|---|---|---|---|---|"""
COLUMNS = """Scores, rise and change of the others are in the group's own picture.

| object | found in | AUC | 0 | 0.5 | 1 | 1.5 | 2 | rise | others | monotone: own | nothing | others |
|---|---|---|---|---|---|---|---|---|---|---|---|---|"""
