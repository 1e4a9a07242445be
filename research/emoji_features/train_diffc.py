"""The Diff-C classifiers that ship with the embedded model: which object, and which style, does its UNet see?"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from api_schemas.report import Estimate
from editor.emoji.labelled_composites import LabelledComposites
from editor.emoji.profile import styled_object_phrases
from editor.emoji.vocabulary import OBJECT_NAMES, STYLES
from editor.features.activations import ActivationStore, record
from editor.features.activations.noised_source import NoisedImages, encode_images, encode_pixels
from editor.features.diffc.embedded import DIFFC_FOLDER
from editor.features.diffc.inference import probabilities
from editor.features.diffc.model import DiffcConfig, DiffusionClassifier, load_diffc
from editor.features.diffc.training import DiffcTrainingConfig, LabelledMaps, train_diffc
from editor.features.linear_probe import class_indices
from editor.generation.config import ImageSpec, native_precision
from editor.io.atomic import write_bytes
from editor.prompts.concepts import ConceptKind
from editor.stats.auc import delong_interval
from editor.stats.intervals import estimate_mean
from research.harness import SAMPLER, Studio

CLASSES: dict[ConceptKind, tuple[str, ...]] = {"object": OBJECT_NAMES, "style": STYLES}
READS: dict[ConceptKind, tuple[str, int]] = {"object": ("mid_block", 25), "style": ("up_blocks.1", 25)}
"""Block and timestep."""
SHOWN = 5
"""Classes that the card names, those that are told worst."""
VARIANTS = 12
"""Composites of each picture; the last two choose the epoch, the two before are the test."""
PLAN = DiffcTrainingConfig(epochs=12, cosine_epochs=12)
PROMPT_SEED = 0


def train(folder: Path) -> None:
    """Train both, measure them, and write weights and card; recordings go to ``folder`` and are reused."""
    studio = Studio(folder.parent / "images")
    composites = LabelledComposites(VARIANTS)
    latents, figures = encode_pixels(studio.pipeline, composites.images()), {}
    for asks, (module, timestep) in READS.items():
        source = NoisedImages(
            studio.pipeline,
            latents,
            [module],
            [timestep],
            prompts=distracting(composites),
            precision=native_precision(),
        )
        (store,) = record(folder / "heads" / asks, source, composites.labels, "patch").values()
        head, own = trained(asks, store)
        head.save(DIFFC_FOLDER / asks, half=True)
        figures[asks] = own | generated(studio, asks)
    write_bytes(DIFFC_FOLDER / "card.json", (json.dumps(figures, indent=1) + "\n").encode())
    write_bytes(DIFFC_FOLDER / "README.md", card(figures).encode())


def distracting(composites: LabelledComposites) -> list[str]:
    """For every other composite the empty prompt, else one about anything: the picture is to be told, not the prompt."""
    generator = torch.Generator().manual_seed(PROMPT_SEED)
    others = [composites.subjects[i] for i in torch.randperm(len(composites), generator=generator).tolist()]
    captions = [subject.caption(generator) for subject in others]
    return [
        "" if int(number) % 2 else text for number, text in zip(composites.labels["variant"], captions, strict=True)
    ]


def trained(asks: ConceptKind, store: ActivationStore) -> tuple[DiffusionClassifier, dict[str, Any]]:
    """On all pictures; and its accuracy on composites that it did not see."""
    targets = class_indices(store.item_labels[asks], CLASSES[asks])
    variant = torch.tensor([int(number) for number in store.item_labels["variant"]])
    rows = [variant < VARIANTS - 4, variant >= VARIANTS - 2, (variant // 2) == VARIANTS // 2 - 2]
    train, validation, test = (LabelledMaps(store.maps()[own], targets[own]) for own in rows)
    config = DiffcConfig(
        module=store.manifest.module,
        timestep=store.manifest.timestep,
        channels=store.manifest.channels,
        classes=CLASSES[asks],
    )
    head = train_diffc(train.load, train.targets, validation, config, PLAN).model
    return head, {"composites": figures_of(asks, head.logits(test.maps), test.targets)}


def generated(studio: Studio, asks: ConceptKind) -> dict[str, Any]:
    """Accuracy on images that the embedded model draws of every object in every style, with and without their prompts."""
    phrases = styled_object_phrases()
    texts = [phrase.text() for phrase in phrases]
    images = studio.before.generate(studio.pipeline, SAMPLER, [ImageSpec(text, 0) for text in texts])
    latents, head = encode_images(studio.pipeline, images), load_diffc(DIFFC_FOLDER / asks)
    targets = class_indices([getattr(phrase, asks) for phrase in phrases], CLASSES[asks])

    def told(prompts: Sequence[str] | None) -> dict[str, Any]:
        found = probabilities(studio.pipeline, head, latents, prompts=prompts, precision=native_precision())
        return figures_of(asks, found, targets)

    return {"generated": told(None), "generated_prompted": told(texts)}


def figures_of(asks: ConceptKind, scores: Tensor, targets: Tensor) -> dict[str, Any]:
    """Accuracy, and for every class the AUC of its score against all others.

    Args:
        scores: ``(n, classes)``, logits or probabilities.
        targets: ``(n,)``.
    """
    accuracy = estimate_mean((scores.argmax(1) == targets).double().tolist())
    aucs = {name: delong_interval(scores[:, i], targets == i) for i, name in enumerate(CLASSES[asks])}
    return {"accuracy": accuracy.model_dump(), "auc": {name: one.model_dump() for name, one in aucs.items()}}


def card(figures: Mapping[ConceptKind, Mapping[str, Any]]) -> str:
    """The README beside the weights."""
    accuracies, aucs = (
        "\n".join(line(asks, own, cell) for asks, own in figures.items()) for cell in (accuracy_cell, auc_cell)
    )
    worst = "\n".join(worst_line(asks, name, own[name]["auc"]) for asks, own in figures.items() for name in PICTURES)
    return CARD.format(accuracies=accuracies, aucs=aucs, worst=worst)


def line(asks: ConceptKind, figures: Mapping[str, Any], cell: Callable[[Mapping[str, Any]], str]) -> str:
    """A row of a table."""
    module, timestep = READS[asks]
    cells = " | ".join(cell(figures[name]) for name in PICTURES)
    return f"| {asks} | {len(CLASSES[asks])} | `{module}` | {timestep} | {cells} |"


def accuracy_cell(figures: Mapping[str, Any]) -> str:
    """With its interval over pictures."""
    return shown(Estimate(**figures["accuracy"]))


def auc_cell(figures: Mapping[str, Any]) -> str:
    """The classes' mean, with its interval over classes."""
    return shown(estimate_mean([one["value"] for one in figures["auc"].values()]))


def worst_line(asks: ConceptKind, pictures: str, aucs: Mapping[str, Mapping[str, Any]]) -> str:
    """A row of the last table."""
    missed = sorted((name for name in aucs if aucs[name]["value"] < 1), key=lambda name: aucs[name]["value"])
    named = "; ".join(f"{name} {shown(Estimate(**aucs[name]))}" for name in missed[:SHOWN])
    return f"| {asks} | {PICTURES[pictures]} | {named or 'none: every class is told without a fault'} |"


def shown(found: Estimate) -> str:
    """A figure with its interval."""
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


PICTURES = {"composites": "composites", "generated": "generated", "generated_prompted": "generated, prompted"}
"""What is told, and how a card calls it."""
CARD = f"""# Diff-C for the embedded model

Two classifiers that read one block of the UNet of the embedded model, after Kim et al. 2025 ("Revelio"), light variant, float16
in safetensors. They tell which object and which style the UNet sees in an image, at one timestep, with or without a prompt.
Trained on the artwork ({VARIANTS - 4} composites of each picture: random backgrounds, shifted, noised; half of them under the
empty prompt, half under one about something else, so that the picture decides and not the prompt), for judging edits of this
model; on images of another origin they are not tested.

*Composites*: the same artwork on other backgrounds with other noise and another prompt, one draw. *Generated*: what the model
draws of every object in every style, mean of four noise draws, under the empty prompt and under the image's own. 95 % intervals
by bootstrap. How far they carry to a foundry or an object that they were not trained on is in
`docs/reference/results.md`: less far.

Accuracy:

| tells | classes | block | timestep | composites | generated | generated, prompted |
|---|---|---|---|---|---|---|
{{accuracies}}

AUC of a class against all others, mean over the classes:

| tells | classes | block | timestep | composites | generated | generated, prompted |
|---|---|---|---|---|---|---|
{{aucs}}

The classes that are told worst, {SHOWN} at most, each with its AUC and DeLong's interval; those of all are in `card.json`:

| tells | pictures | AUC |
|---|---|---|
{{worst}}
"""
