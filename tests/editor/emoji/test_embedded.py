"""The embedded model: it loads with diffusers, generates what prompts ask for, and its judge is accurate."""

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from editor.checkpoints import weight_files
from editor.emoji import JUDGE, WEIGHTS
from editor.emoji.profile import PROFILE, styled_object_phrases
from editor.generation.config import ImageSpec
from editor.generation.sampling import generate_images
from editor.judging.judge import Judge, open_judge
from editor.prompts import load_profile
from editor.prompts.templates import evenly_spaced
from research.emoji.evaluate import SAMPLER, evaluate_judge, measure_recognition


@pytest.fixture(scope="module")
def pipeline() -> Any:
    loaded = StableDiffusionPipeline.from_pretrained(WEIGHTS)
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.fixture(scope="module")
def judge() -> Judge:
    return open_judge(JUDGE, WEIGHTS, PROFILE)


def test_weights_are_at_most_80_megabytes() -> None:
    files = [*weight_files(WEIGHTS).values(), *weight_files(JUDGE).values()]
    assert sum(path.stat().st_size for path in files) <= 80_000_000


def test_loads_and_generates_with_plain_diffusers(pipeline: Any) -> None:
    image = pipeline("a fox in the style of noto", num_inference_steps=3, output_type="np").images[0]
    assert image.shape == (64, 64, 3)
    assert np.isfinite(image).all()


def test_weights_are_loaded_as_float32(pipeline: Any) -> None:
    dtypes = {part: next(getattr(pipeline, part).parameters()).dtype for part in ("text_encoder", "unet", "vae")}
    assert set(dtypes.values()) == {torch.float32}


def test_profile_matches_the_vocabulary() -> None:
    assert load_profile(WEIGHTS) == PROFILE


def test_judge_recognizes_the_artwork(judge: Judge) -> None:
    figures = evaluate_judge(judge)
    assert figures["object_accuracy"] >= 0.95
    assert figures["style_accuracy"] >= 0.97


def test_generated_images_match_their_prompts(pipeline: Any, judge: Judge) -> None:
    """A sample of the measurement in docs/explanation/emoji.md: 60 of 480 prompts, with a margin."""
    phrases = evenly_spaced(styled_object_phrases(), 60)
    images = generate_images(pipeline, SAMPLER, [ImageSpec(phrase.text(), 0) for phrase in phrases])
    figures = measure_recognition(judge, images, phrases)
    assert figures["object_accuracy"] >= 0.85
    assert figures["style_accuracy"] >= 0.9


def test_image_does_not_depend_on_its_batch(pipeline: Any) -> None:
    shots = [ImageSpec(phrase.text(), 5) for phrase in islice(styled_object_phrases(), 3)]
    together = generate_images(pipeline, SAMPLER, shots)
    (alone,) = generate_images(pipeline, SAMPLER, shots[1:2])
    assert np.abs(together[1].astype(int) - alone.astype(int)).max() <= 2, "of 255"
