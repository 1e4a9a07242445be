"""The study's splits keep what is tested out of training, and its rows are labelled as they look."""

import pytest
import torch

from editor.emoji.artwork import background_colours
from editor.emoji.labelled_composites import LabelledComposites
from editor.emoji.vocabulary import BACKGROUNDS, OBJECT_NAMES, OBJECTS, STYLES
from research.emoji_features.layer_timestep_sweep import (
    CELLS,
    LAYERS,
    METHODS,
    TASKS,
    TIMESTEPS,
    VARIANTS,
    Split,
    make_folds,
)

LABELS = LabelledComposites(VARIANTS).labels
ROWS = range(len(LABELS["object"]))


@pytest.mark.parametrize(("split", "kind"), [("foundry", "style"), ("object", "object")])
def test_test_rows_are_unseen_in_training(split: Split, kind: str) -> None:
    tested: list[int] = []
    for fold in make_folds(LABELS, split):
        seen = {LABELS[kind][row] for row in (*fold.train, *fold.validation)}
        assert seen.isdisjoint(LABELS[kind][row] for row in fold.test)
        assert sorted((*fold.train, *fold.validation, *fold.test)) == list(ROWS)
        tested += fold.test
    assert sorted(tested) == list(ROWS)


@pytest.mark.parametrize("split", ["foundry", "object"])
def test_training_and_validation_pictures_are_disjoint(split: Split) -> None:
    for fold in make_folds(LABELS, split):
        train, validation = (
            {(LABELS["object"][row], LABELS["style"][row]) for row in rows} for rows in (fold.train, fold.validation)
        )
        assert train.isdisjoint(validation)
        assert len(validation) > 0


def test_every_class_is_in_training() -> None:
    for label, split in TASKS:
        for fold in make_folds(LABELS, split):
            assert {LABELS[label][row] for row in fold.train} == set(LABELS[label])


def test_composite_split_tests_another_variant_of_the_same_pictures() -> None:
    (fold,) = make_folds(LABELS, "composite")
    variants = [{LABELS["variant"][row] for row in rows} for rows in (fold.train, fold.validation, fold.test)]
    assert variants == [{"0", "1"}, {"2"}, {"3"}]


def test_cells_cover_every_task_block_and_timestep() -> None:
    assert len(CELLS) == len(set(CELLS)) == len(TASKS) * len(METHODS) * len(LAYERS) * len(TIMESTEPS)
    assert len({cell.name for cell in CELLS}) == len(CELLS)


def test_composites_match_their_labels() -> None:
    composites = LabelledComposites(2, seed=1)
    images, labels = composites.images(), composites.labels
    assert len(images) == 2 * len(OBJECT_NAMES) * len(STYLES)
    colours = dict(zip(BACKGROUNDS, background_colours() * 2 - 1, strict=True))
    for row in range(0, len(images), 97):
        # The artwork keeps a margin of two pixels, which a shift may use up on one side: one corner is always bare.
        corners = images[row][:, [0, 0, -1, -1], [0, -1, 0, -1]].T
        colour = colours[labels["background"][row]]
        assert any(torch.allclose(corner, colour, atol=1e-6) for corner in corners)
        assert labels["object"][row] in OBJECTS[labels["group"][row]]


def test_composites_are_reproducible_by_seed() -> None:
    first, again, other = (LabelledComposites(1, seed).labels["background"] for seed in (0, 0, 1))
    assert first == again != other
