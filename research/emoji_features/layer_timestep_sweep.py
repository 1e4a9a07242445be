"""Classifiers on every block and timestep of the embedded UNet, tested on unseen data.

Run by ``python -m research.results diffusion_features``. A split defines what is unseen in the test rows. No row of a tested
picture is in training, except in the split ``composite``, which shows how uninformative such a test is.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor

from editor import emoji
from editor.emoji.labelled_composites import LabelledComposites
from editor.emoji.vocabulary import OBJECT_NAMES, STYLES
from editor.features.activations import ActivationStore, record
from editor.features.activations.noised_source import NoisedImages, encode_pixels
from editor.features.activations.recorder import StoreKey
from editor.features.activations.store import pool_maps
from editor.features.diffc.model import DiffcConfig
from editor.features.diffc.training import DiffcTrainingConfig, LabelledMaps, correct_predictions, train_diffc
from editor.features.linear_probe import class_indices, fit_probe
from editor.generation.config import native_precision
from editor.generation.pipelines import load_pipeline
from editor.io.atomic import write_bytes

Label = Literal["object", "group", "style"]
Split = Literal["foundry", "object", "composite"]
Method = Literal["probe", "diffc"]
LAYERS = ("down_blocks.0", "down_blocks.1", "mid_block", "up_blocks.0", "up_blocks.1")
TIMESTEPS = (0, 25, 100, 200, 500, 800)
VARIANTS = 4
OBJECT_FOLDS = 3
VALIDATION = 0.1
"""Share of the training pictures (or objects) that select Diff-C's epoch."""
PLAN = DiffcTrainingConfig(epochs=8, cosine_epochs=8)
PENALTY, TOLERANCE = 1e-3, 1e-4
"""Settings of all probes: the best penalty of 0.001 to 1 for objects at ``up_blocks.0``, t = 25. A hundredth of the tolerance
changes no accuracy by more than 0.006."""
TASKS: tuple[tuple[Label, Split], ...] = (
    ("object", "foundry"),
    ("group", "object"),
    ("style", "object"),
    ("object", "composite"),
    ("style", "composite"),
)
"""Label to predict, and what is unseen in the test rows: a foundry, an object, or only background, shift and noise."""


def record_artwork(folder: Path) -> dict[StoreKey, ActivationStore]:
    """Record every position of every block for composites of all artwork, noised, under the empty prompt."""
    pipeline, composites = load_pipeline(emoji.WEIGHTS), LabelledComposites(VARIANTS)
    pipeline.unet.to(memory_format=torch.channels_last)
    source = NoisedImages(
        pipeline, encode_pixels(pipeline, composites.images()), LAYERS, TIMESTEPS, precision=native_precision()
    )
    return record(folder, source, composites.labels, "patch", shard=384)


@dataclass(frozen=True)
class Fold:
    """Row indices of a fold."""

    train: list[int]
    validation: list[int]
    test: list[int]


def make_folds(labels: dict[str, list[str]], split: Split) -> Iterator[Fold]:
    """Yield folds whose test rows together are all rows, or those of one variant for ``composite``."""
    count = range(len(labels["object"]))
    if split == "composite":
        variants = [int(variant) for variant in labels["variant"]]
        yield Fold(
            *([i for i in count if variants[i] in own] for own in (range(VARIANTS - 2), [VARIANTS - 2], [VARIANTS - 1]))
        )
        return
    # The vocabulary is ordered by group, so every third object gives some of each group.
    units = (
        [{style} for style in STYLES]
        if split == "foundry"
        else [set(OBJECT_NAMES[i::OBJECT_FOLDS]) for i in range(OBJECT_FOLDS)]
    )
    unit = labels["style" if split == "foundry" else "object"]
    drawn = list(zip(labels["object"], labels["style"] if split == "foundry" else [""] * len(count), strict=True))
    for number, tested in enumerate(units):
        rest = [i for i in count if unit[i] not in tested]
        kept_out = sample_validation(sorted({drawn[i] for i in rest}), number)
        yield Fold(
            [i for i in rest if drawn[i] not in kept_out],
            [i for i in rest if drawn[i] in kept_out],
            [i for i in count if unit[i] in tested],
        )


def sample_validation(pictures: Sequence[tuple[str, str]], seed: int) -> set[tuple[str, str]]:
    """Draw the validation pictures."""
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))
    return {pictures[i] for i in order[: round(VALIDATION * len(pictures))].tolist()}


@dataclass(frozen=True)
class Cell:
    """One task with one method at one block and timestep."""

    label: Label
    split: Split
    method: Method
    layer: str
    timestep: int

    @property
    def name(self) -> str:
        """Name of the cell's file."""
        return f"{self.label}-{self.split}-{self.method}-{self.layer}-{self.timestep}"


METHODS: tuple[Method, ...] = ("probe", "diffc")
CELLS = tuple(
    Cell(label, split, method, layer, timestep)
    for (label, split), method, layer, timestep in product(TASKS, METHODS, LAYERS, TIMESTEPS)
)


@dataclass(frozen=True)
class CellData:
    """Activations of one block at one timestep."""

    store: ActivationStore

    @cached_property
    def maps(self) -> Tensor:
        """Activation maps ``(n, c, h, w)``, memory-mapped."""
        return self.store.maps()

    @cached_property
    def means(self) -> Tensor:
        """Means over positions, ``(n, c)``."""
        return pool_maps(self.maps, "mean")

    def is_correct(self, cell: Cell, fold: Fold) -> list[bool]:
        """Return whether each test row is classified correctly."""
        labels = self.store.item_labels[cell.label]
        return (
            self.is_correct_by_probe(labels, fold)
            if cell.method == "probe"
            else self.is_correct_by_diffc(cell, labels, fold)
        )

    def is_correct_by_probe(self, labels: Sequence[str], fold: Fold) -> list[bool]:
        """Classify by the linear probe on means over positions."""
        rows = [*fold.train, *fold.validation]
        probe = fit_probe(self.means[rows], [labels[i] for i in rows], PENALTY, TOLERANCE)
        found = probe.logits(self.means[fold.test]).argmax(1)
        return [probe.classes[i] == labels[row] for i, row in zip(found.tolist(), fold.test, strict=True)]

    def is_correct_by_diffc(self, cell: Cell, labels: Sequence[str], fold: Fold) -> list[bool]:
        """Classify by Diff-C's light variant on maps."""
        classes = tuple(sorted(set(labels)))
        targets = class_indices(labels, classes)
        config = DiffcConfig(module=cell.layer, timestep=cell.timestep, channels=self.maps.shape[1], classes=classes)
        train, validation, test = (
            LabelledMaps(self.maps[own], targets[own]) for own in (fold.train, fold.validation, fold.test)
        )
        made = train_diffc(train.load, train.targets, validation, config, PLAN, progress=False)
        return cast(list[bool], correct_predictions(made.model, test).tolist())


def accuracy_by_object(store: ActivationStore, cell: Cell) -> list[float]:
    """Return the accuracy on the test rows of each object in the vocabulary's order; intervals resample these."""
    rows, objects = CellData(store), store.item_labels["object"]
    results = [
        (objects[row], correct)
        for fold in make_folds(store.item_labels, cell.split)
        for row, correct in zip(fold.test, rows.is_correct(cell, fold), strict=True)
    ]
    return [float(np.mean([correct for name, correct in results if name == own])) for own in OBJECT_NAMES]


def load_or_measure(stores: dict[StoreKey, ActivationStore], cell: Cell, folder: Path) -> list[float]:
    """Return ``accuracy_by_object``, cached in a file, so that an interrupted study resumes."""
    path = folder / f"{cell.name}.json"
    if not path.exists():
        write_bytes(path, json.dumps(accuracy_by_object(stores[cell.layer, cell.timestep], cell)).encode())
    accuracies: list[float] = json.loads(path.read_bytes())
    return accuracies
