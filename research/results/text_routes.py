"""Which edits close which routes of the text: ``python -m research.results routes``.

The embedded models are edited at each site alone and at all of them, for one and for many removals. To put the original text
encoders back, their edits are left out: the denoiser then reads the unedited states.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from api_schemas.edits import EditOptions, Validation
from editor import emoji
from editor.checkpoints import Checkpoint, open_checkpoint
from editor.checkpoints.tensor_update import TensorUpdate
from editor.emoji.locate import EMBEDDED_MODELS
from editor.emoji.profile import styled_object_phrases
from editor.emoji.vocabulary import OBJECT_NAMES
from editor.generation.config import Image, ImageSpec, Sampler
from editor.generation.device import DeviceSettings
from editor.generation.edited_weights import edited_weights
from editor.generation.pipelines import load_pipeline
from editor.generation.sampling import generate_images
from editor.jobs.sampler_settings import choose_sampler
from editor.judging.judge import Judge, open_judge
from editor.methods.denoiser_edit import edit_denoiser
from editor.methods.encoder_edit import edit_encoder
from editor.prompts import PromptBuilder, ResolvedRemoval, open_prompt_builder, open_prompt_builders
from editor.prompts.concepts import ConceptKind, Phrase
from editor.prompts.templates import evenly_spaced
from editor.sites.registry import denoiser_sites
from research.emoji.erasure_capacity import make_removals
from research.harness import EmbeddedModel, accuracy, other_phrases

COUNTS = (1, 10, 50)
TARGET_PROMPTS, OTHER_PROMPTS = 50, 50
"""Prompts about removed and about other objects; half of the first are in held-out wordings."""
ENCODERS = "text_encoder"
SiteUpdates = Mapping[str, Sequence[TensorUpdate]]
"""The updates of each site, by its name."""


class RouteRow(BaseModel):
    """The images of one model under one set of edits."""

    model: str
    removals: int
    edited: list[str]
    """Names of the edited sites."""
    target: float
    """Share of prompts about removed objects whose images show that object."""
    destination: float
    """Share of the same prompts whose images show its replacement."""
    objects: float
    """Share of the other prompts whose images show their object."""
    styles: float
    target_prompts: int
    other_prompts: int


@dataclass(frozen=True)
class RoutedModel:
    """An embedded model with its judge."""

    name: str
    folder: Path

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The model's tensors."""
        return open_checkpoint(self.folder)

    @cached_property
    def prompts(self) -> PromptBuilder:
        """The prompt builder of the first text encoder."""
        return open_prompt_builder(self.folder)

    @cached_property
    def judge(self) -> Judge:
        """The judge, which shares no encoder with the model."""
        return open_judge(emoji.JUDGE, self.folder, self.prompts.profile)

    @cached_property
    def pipeline(self) -> Any:
        """The whole pipeline."""
        return load_pipeline(self.folder)

    @cached_property
    def sampler(self) -> Sampler:
        """The sampler of the model's profile."""
        compute = DeviceSettings(device="cpu").resolve()
        return choose_sampler(Validation(), self.prompts.profile, self.pipeline, compute)

    def solve(self, removals: Sequence[ResolvedRemoval]) -> dict[str, list[TensorUpdate]]:
        """Return the updates of every site."""
        builders = open_prompt_builders(self.checkpoint)
        encoders = zip(self.checkpoint.encoders, builders, strict=True)
        edits = chain.from_iterable(edit_encoder(*pair, removals) for pair in encoders)
        sites = denoiser_sites(self.checkpoint, builders, EditOptions(sites="all"))
        shared = edit_denoiser(sites, builders[0], removals)
        return {ENCODERS: [one.update for one in edits]} | {str(one.record.site): list(one.updates) for one in shared}

    def generate(self, phrases: Sequence[Phrase], updates: Sequence[TensorUpdate]) -> list[Image]:
        """Generate an image of each phrase with edited weights."""
        with edited_weights(self.pipeline, updates):
            return generate_images(self.pipeline, self.sampler, [ImageSpec(phrase.text(), 0) for phrase in phrases])

    def recognise(self, images: Sequence[Image], kind: ConceptKind) -> list[str]:
        """Return what the judge recognises in each image."""
        return self.judge.classify(kind, self.judge.embed_images(images), self.judge.class_names(kind))[0]


def choose_sets(sites: Sequence[str]) -> list[list[str]]:
    """Return the sets of sites to edit: none, each alone, the encoders with a text gate, all, and all but the encoders."""
    gate = [[ENCODERS, "text_gate"]] if "text_gate" in sites else []
    others = [name for name in sites if name != ENCODERS]
    every = [[], *([name] for name in sites), *gate, list(sites), others]
    return [one for index, one in enumerate(every) if one not in every[:index]]


def measure_model(model: RoutedModel, count: int) -> Iterator[RouteRow]:
    """Remove a number of objects, and measure each set of sites."""
    names = evenly_spaced(OBJECT_NAMES, count)
    removals = make_removals(names)
    replacements = {one.concept.subject: one.destination.words for one in removals}
    asked = evenly_spaced([p for p in styled_object_phrases() if p.object in names], TARGET_PROMPTS // 2)
    target = [*asked, *model.prompts.in_held_out_wordings(asked)]
    other = other_phrases(names, OTHER_PROMPTS)
    updates = model.solve(removals)
    for edited in choose_sets(list(updates)):
        images = model.generate([*target, *other], [update for name in edited for update in updates[name]])
        shown = model.recognise(images[: len(target)], "object")
        yield RouteRow(
            model=model.name,
            removals=count,
            edited=edited,
            target=accuracy([p.object == found for p, found in zip(target, shown, strict=True)]),
            destination=accuracy([replacements[p.object] == found for p, found in zip(target, shown, strict=True)]),
            objects=share_shown(model, images[len(target) :], other, "object"),
            styles=share_shown(model, images[len(target) :], other, "style"),
            target_prompts=len(target),
            other_prompts=len(other),
        )


def share_shown(model: RoutedModel, images: Sequence[Image], phrases: Sequence[Phrase], kind: ConceptKind) -> float:
    """Return the share of images that show the object or style of their phrase."""
    found = model.recognise(images, kind)
    return accuracy([getattr(phrase, kind) == name for phrase, name in zip(phrases, found, strict=True)])


def measure(model: EmbeddedModel) -> Iterator[RouteRow]:
    """Measure every row."""
    for name, folder in EMBEDDED_MODELS.items():
        routed = RoutedModel(name, folder)
        for count in COUNTS:
            yield from measure_model(routed, count)


def render(rows: list[RouteRow]) -> str:
    """Render the section."""
    return "\n".join([TEXT, COLUMNS, *map(render_row, rows)])


def render_row(row: RouteRow) -> str:
    """Render a row of the table."""
    edited = ", ".join(f"`{name}`" for name in row.edited) or "nothing"
    return (
        f"| {row.model} | {row.removals} | {edited} | {row.target:.3f} | {row.destination:.3f} | {row.objects:.3f} "
        f"| {row.styles:.3f} | {row.target_prompts} + {row.other_prompts} |"
    )


TEXT = """## Routes of the text

Each removed object is mapped to a retained one at the listed [sites](../explanation/routes.md). Where `text_encoder` is not
among them, the original encoders are in their place, as after an *encoder swap*. The table gives the share of prompts about
removed objects whose images still show them (*target*) or show the replacement (*destination*), and of other prompts whose
images show their object and style.
"""
COLUMNS = """| model | removed | edited | target | destination | objects | styles | prompts |
|---|---|---|---|---|---|---|---|"""
