"""Feature scores of a removed fox by the embedded model's instruments."""

from dataclasses import replace

import pytest
import torch

from editor.emoji.vocabulary import OBJECT_NAMES
from editor.features.diffc.embedded import diffc_classifier
from editor.generation.config import ImageSpec
from editor.judging.attacks import AttackContext
from editor.judging.feature_scores.embedded_instruments import interleave_objects, load_head, select_latents
from editor.judging.feature_scores.evaluate import (
    CONTROL_CONCEPTS,
    PROMPTS_PER_CONTROL,
    FeatureInstruments,
    PairedImages,
    control_phrases,
    score_features,
)


@pytest.fixture(scope="module")
def instruments() -> FeatureInstruments:
    return FeatureInstruments({}, {"object": load_head("object")}, interleave_objects())


def test_diffc_detects_the_fox_before_the_edit_and_in_noised_images_after_it(
    context: AttackContext, instruments: FeatureInstruments
) -> None:
    targets = context.concept_prompts[:3]
    prompts = [phrase.text() for phrase in targets]
    before = context.base_images([ImageSpec(prompt, 0) for prompt in prompts])
    after = context.after.generate(context.after.encode_prompts(prompts), [0] * 3)
    found = score_features(context, instruments, PairedImages(targets, [], before, after))
    by_question = {one.asked_for: one for one in found.diffc}
    assert set(by_question) == {"prompt", "image", "nothing"}
    assert by_question["image"].before.value > 0.5 > 0.2 > by_question["image"].after.value
    assert by_question["image"].found_after.hits == 0
    hidden = by_question["nothing"]
    assert hidden.after.value == pytest.approx(hidden.before.value, abs=0.02)
    assert hidden.after.value > 0.5
    assert found.sae == ()


def test_concept_without_features_or_classifier_is_not_scored(
    context: AttackContext, instruments: FeatureInstruments
) -> None:
    nobody = replace(
        context, removal=replace(context.removal, concept=replace(context.removal.concept, name="hedge trimmer"))
    )
    found = score_features(nobody, instruments, PairedImages([], [], [], []))
    assert (found.sae, found.diffc) == ((), ())
    assert "hedge trimmer" not in diffc_classifier("object").config.classes


def test_controls_exclude_the_concept_and_its_replacement(
    context: AttackContext, instruments: FeatureInstruments
) -> None:
    phrases = control_phrases(context, instruments.controls)
    names = {phrase.object for phrase in phrases}
    assert (len(names), len(phrases)) == (CONTROL_CONCEPTS, CONTROL_CONCEPTS * PROMPTS_PER_CONTROL)
    assert names <= set(OBJECT_NAMES) - {"fox", "dog face"}
    assert len({phrase.text() for phrase in phrases}) == len(phrases)


def test_controls_include_every_object_once() -> None:
    assert sorted(interleave_objects()) == sorted(OBJECT_NAMES)


def test_latents_that_do_not_detect_a_concept_are_not_selected() -> None:
    labels = ["fox", "fox", "owl", "owl", "owl", "owl"]
    scores = torch.tensor([[0.0, 5, 1], [1, 6, 2], [0, 0, 2], [1, 1, 1], [0, 0, 2], [1, 1, 1]])
    assert select_latents(scores, labels, "fox") == [1]
    assert select_latents(scores[:, [0, 2]], labels, "fox") == []
