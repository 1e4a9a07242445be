"""The shipped Diff-C heads: small, safe, and as good as their card says."""

import json

import pytest
import torch

from editor import emoji
from editor.emoji.labelled_composites import LabelledComposites
from editor.features.activations.noised_source import encode_pixels
from editor.features.diffc import class_probability, probabilities
from editor.features.diffc.embedded import DIFFC_FOLDER, diffc_classifier
from editor.generation.sampling import load_pipeline
from editor.prompts.concepts import ConceptKind
from research.emoji_features.train_diffc import CLASSES, HEAD_SITES, render_card

ASKS: tuple[ConceptKind, ...] = ("object", "style")


def test_they_are_small_and_hold_nothing_but_tensors_and_words() -> None:
    files = [path for path in DIFFC_FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 3_000_000
    assert {path.suffix for path in files} == {".safetensors", ".json", ".md"}


def test_the_card_is_made_of_its_figures() -> None:
    assert (DIFFC_FOLDER / "README.md").read_text() == render_card(
        json.loads((DIFFC_FOLDER / "card.json").read_bytes())
    )


@pytest.mark.parametrize("asks", ASKS)
def test_they_read_what_the_study_chose(asks: ConceptKind) -> None:
    config = diffc_classifier(asks).config
    assert (config.module, config.timestep) == HEAD_SITES[asks]
    assert config.classes == CLASSES[asks]


def test_they_tell_pictures_they_never_saw_as_well_as_the_card_says() -> None:
    pipeline = load_pipeline(emoji.WEIGHTS)
    composites = LabelledComposites(1, seed=99)
    rows = [5 * item + item % 5 for item in range(96)]  # every object, one style after the other
    latents = encode_pixels(pipeline, composites.images()[rows])
    card = json.loads((DIFFC_FOLDER / "card.json").read_bytes())
    for asks in ASKS:
        head = diffc_classifier(asks)
        found = probabilities(pipeline, head, latents, draws=1)
        truth = [composites.labels[asks][row] for row in rows]
        right = [head.config.classes[i] == own for i, own in zip(found.argmax(1).tolist(), truth, strict=True)]
        # Three standard deviations of 96 pictures beside the card's interval.
        assert sum(right) / len(right) > card[asks]["composites"]["accuracy"]["low"] - 0.1
        chances = torch.stack([class_probability(head, found, own)[row] for row, own in enumerate(truth)])
        assert float(chances.median()) > 0.5
