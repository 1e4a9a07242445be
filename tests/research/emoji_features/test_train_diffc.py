"""The shipped Diff-C heads: small, safe, and as good as their card says."""

import json

import pytest
import torch

from editor import emoji
from editor.emoji.labelled_composites import LabelledComposites
from editor.features.activations.noised_source import encode_pixels
from editor.features.diffc import class_probability, probabilities
from editor.features.diffc.embedded import DIFFC_FOLDER, diffc_classifier
from editor.generation.pipelines import load_pipeline
from editor.prompts.concepts import ConceptKind
from research.emoji_features.train_diffc import CLASSES, HEAD_SITES, render_card

KINDS: tuple[ConceptKind, ...] = ("object", "style")


def test_packaged_files_are_small_and_have_only_tensors_and_text() -> None:
    files = [path for path in DIFFC_FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 3_000_000
    assert {path.suffix for path in files} == {".safetensors", ".json", ".md"}


def test_readme_is_rendered_from_the_card() -> None:
    assert (DIFFC_FOLDER / "README.md").read_text() == render_card(
        json.loads((DIFFC_FOLDER / "card.json").read_bytes())
    )


@pytest.mark.parametrize("kind", KINDS)
def test_classifiers_read_the_sites_of_the_study(kind: ConceptKind) -> None:
    config = diffc_classifier(kind).config
    assert (config.module, config.timestep) == HEAD_SITES[kind]
    assert config.classes == CLASSES[kind]


def test_accuracy_on_unseen_pictures_matches_the_card() -> None:
    pipeline = load_pipeline(emoji.WEIGHTS)
    composites = LabelledComposites(1, seed=99)
    rows = [5 * item + item % 5 for item in range(96)]  # every object, one style after the other
    latents = encode_pixels(pipeline, composites.images()[rows])
    card = json.loads((DIFFC_FOLDER / "card.json").read_bytes())
    for kind in KINDS:
        head = diffc_classifier(kind)
        found = probabilities(pipeline, head, latents, draws=1)
        truth = [composites.labels[kind][row] for row in rows]
        right = [head.config.classes[i] == own for i, own in zip(found.argmax(1).tolist(), truth, strict=True)]
        # Three standard deviations of 96 pictures beside the card's interval.
        assert sum(right) / len(right) > card[kind]["composites"]["accuracy"]["low"] - 0.1
        chances = torch.stack([class_probability(head, found, own)[row] for row, own in enumerate(truth)])
        assert float(chances.median()) > 0.5
