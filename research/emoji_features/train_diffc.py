"""Train the packaged Diff-C classifiers of the embedded UNet: ``python -m research.emoji_features diffc``.

One predicts the object of an image, the other its style.
"""

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
from research.emoji.random_subjects import random_caption
from research.harness import SAMPLER, EmbeddedModel

CLASSES: dict[ConceptKind, tuple[str, ...]] = {"object": OBJECT_NAMES, "style": STYLES}
HEAD_SITES: dict[ConceptKind, tuple[str, int]] = {"object": ("mid_block", 25), "style": ("up_blocks.1", 25)}
"""Block and timestep that each classifier reads."""
MAX_WORST_CLASSES = 5
"""Number of worst classes that the card names."""
VARIANTS = 12
"""LabelledComposites of each picture; the last two select the epoch, and the two before are the test set."""
PLAN = DiffcTrainingConfig(epochs=12, cosine_epochs=12)
PROMPT_SEED = 0


def train(folder: Path) -> None:
    """Train and measure both classifiers, and write weights and card; recordings in ``folder`` are reused."""
    model = EmbeddedModel(folder.parent / "images")
    composites = LabelledComposites(VARIANTS)
    latents, figures = encode_pixels(model.pipeline, composites.images()), {}
    for kind, (module, timestep) in HEAD_SITES.items():
        source = NoisedImages(
            model.pipeline,
            latents,
            [module],
            [timestep],
            prompts=distractor_prompts(composites),
            precision=native_precision(),
        )
        (store,) = record(folder / "heads" / kind, source, composites.labels, "patch").values()
        head, own = train_head(kind, store)
        head.save(DIFFC_FOLDER / kind, half=True)
        figures[kind] = own | measure_on_generated(model, kind)
    write_bytes(DIFFC_FOLDER / "card.json", (json.dumps(figures, indent=1) + "\n").encode())
    write_bytes(DIFFC_FOLDER / "README.md", render_card(figures).encode())


def distractor_prompts(composites: LabelledComposites) -> list[str]:
    """Return the empty prompt for every other composite, else a prompt about another picture.

    The classifier has to predict the picture, not the prompt.
    """
    generator = torch.Generator().manual_seed(PROMPT_SEED)
    others = [composites.subjects[i] for i in torch.randperm(len(composites), generator=generator).tolist()]
    captions = [random_caption(subject, generator) for subject in others]
    return [
        "" if int(number) % 2 else text for number, text in zip(composites.labels["variant"], captions, strict=True)
    ]


def train_head(kind: ConceptKind, store: ActivationStore) -> tuple[DiffusionClassifier, dict[str, Any]]:
    """Train on all pictures; also return the figures on unseen composites."""
    targets = class_indices(store.item_labels[kind], CLASSES[kind])
    variant = torch.tensor([int(number) for number in store.item_labels["variant"]])
    rows = [variant < VARIANTS - 4, variant >= VARIANTS - 2, (variant // 2) == VARIANTS // 2 - 2]
    train, validation, test = (LabelledMaps(store.maps()[own], targets[own]) for own in rows)
    config = DiffcConfig(
        module=store.manifest.module,
        timestep=store.manifest.timestep,
        channels=store.manifest.channels,
        classes=CLASSES[kind],
    )
    head = train_diffc(train.load, train.targets, validation, config, PLAN).model
    return head, {"composites": classification_figures(kind, head.logits(test.maps), test.targets)}


def measure_on_generated(model: EmbeddedModel, kind: ConceptKind) -> dict[str, Any]:
    """Measure on generated images of every object in every style, with and without their prompts."""
    phrases = styled_object_phrases()
    texts = [phrase.text() for phrase in phrases]
    images = model.base_images.generate(model.pipeline, SAMPLER, [ImageSpec(text, 0) for text in texts])
    latents, head = encode_images(model.pipeline, images), load_diffc(DIFFC_FOLDER / kind)
    targets = class_indices([getattr(phrase, kind) for phrase in phrases], CLASSES[kind])

    def measure_prompted(prompts: Sequence[str] | None) -> dict[str, Any]:
        found = probabilities(model.pipeline, head, latents, prompts=prompts, precision=native_precision())
        return classification_figures(kind, found, targets)

    return {"generated": measure_prompted(None), "generated_prompted": measure_prompted(texts)}


def classification_figures(kind: ConceptKind, scores: Tensor, targets: Tensor) -> dict[str, Any]:
    """Return the accuracy, and for every class the AUC of its score against all others.

    Args:
        scores: ``(n, classes)``, logits or probabilities.
        targets: ``(n,)``.
    """
    accuracy = estimate_mean((scores.argmax(1) == targets).double().tolist())
    aucs = {name: delong_interval(scores[:, i], targets == i) for i, name in enumerate(CLASSES[kind])}
    return {"accuracy": accuracy.model_dump(), "auc": {name: one.model_dump() for name, one in aucs.items()}}


def render_card(figures: Mapping[ConceptKind, Mapping[str, Any]]) -> str:
    """Render the README of the weights."""
    accuracies, aucs = (
        "\n".join(render_line(kind, own, cell) for kind, own in figures.items())
        for cell in (render_accuracy, render_mean_auc)
    )
    worst = "\n".join(
        render_worst_classes(kind, name, own[name]["auc"]) for kind, own in figures.items() for name in TEST_SETS
    )
    return CARD.format(accuracies=accuracies, aucs=aucs, worst=worst)


def render_line(kind: ConceptKind, figures: Mapping[str, Any], cell: Callable[[Mapping[str, Any]], str]) -> str:
    """Render a row of a table."""
    module, timestep = HEAD_SITES[kind]
    cells = " | ".join(cell(figures[name]) for name in TEST_SETS)
    return f"| {kind} | {len(CLASSES[kind])} | `{module}` | {timestep} | {cells} |"


def render_accuracy(figures: Mapping[str, Any]) -> str:
    """Render the accuracy with its interval over pictures."""
    return render_estimate(Estimate(**figures["accuracy"]))


def render_mean_auc(figures: Mapping[str, Any]) -> str:
    """Render the mean AUC over classes with its interval."""
    return render_estimate(estimate_mean([one["value"] for one in figures["auc"].values()]))


def render_worst_classes(kind: ConceptKind, pictures: str, aucs: Mapping[str, Mapping[str, Any]]) -> str:
    """Render a row of the last table."""
    missed = sorted((name for name in aucs if aucs[name]["value"] < 1), key=lambda name: aucs[name]["value"])
    named = "; ".join(f"{name} {render_estimate(Estimate(**aucs[name]))}" for name in missed[:MAX_WORST_CLASSES])
    return f"| {kind} | {TEST_SETS[pictures]} | {named or 'none: the AUC of every class is 1'} |"


def render_estimate(found: Estimate) -> str:
    """Render a figure with its interval."""
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


TEST_SETS = {"composites": "composites", "generated": "generated", "generated_prompted": "generated, prompted"}
"""Test sets, and their names in the card."""
CARD = f"""# Diff-C for the embedded model

Two classifiers that read one block of the UNet of the embedded model, after Kim et al. 2025 ("Revelio"), light variant,
float16 in safetensors. They predict which object and which style the UNet represents in an image, at one timestep, with or
without a prompt. Trained on the artwork ({VARIANTS - 4} composites of each picture: random backgrounds, shifted, noised; half
of them under the empty prompt, half under a prompt about another picture, so that the picture determines the class and not
the prompt). They are meant for judging edits of this model, and are not tested on images of another origin.

*Composites*: the same artwork on other backgrounds with other noise and another prompt, one noise draw. *Generated*: images
that the model generates of every object in every style, mean of four noise draws, under the empty prompt and under the
image's own. 95 % intervals by bootstrap. Accuracy on a foundry or an object that was not in training is lower, see
`docs/reference/results.md`.

Accuracy:

| predicts | classes | block | timestep | composites | generated | generated, prompted |
|---|---|---|---|---|---|---|
{{accuracies}}

AUC of a class against all others, mean over the classes:

| predicts | classes | block | timestep | composites | generated | generated, prompted |
|---|---|---|---|---|---|---|
{{aucs}}

The worst classes, at most {MAX_WORST_CLASSES}, each with its AUC and DeLong's interval; those of all are in `card.json`:

| predicts | pictures | AUC |
|---|---|---|
{{worst}}
"""
