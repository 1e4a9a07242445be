"""The embedded FLUX-class model: it draws what prompts ask for, and a default removal closes both routes of its text."""

from typing import Any

import numpy as np
import pytest

from api_schemas.edits import EditOptions, EditRequest, Validation
from editor.checkpoints import open_checkpoint, weight_files
from editor.emoji import DIT_WEIGHTS, JUDGE, WEIGHTS
from editor.emoji.locate import embedded_model_folder
from editor.emoji.profile import DIT_PROFILE, styled_object_phrases
from editor.generation.config import Image, ImageSpec, Sampler
from editor.generation.device import DeviceSettings, Precision
from editor.generation.edited_weights import edited_weights
from editor.generation.pipelines import load_pipeline
from editor.generation.sampling import generate_images
from editor.jobs.forecast import solve
from editor.jobs.model import open_model
from editor.jobs.sampler_settings import choose_sampler
from editor.judging.judge import Judge, open_judge
from editor.prompts import load_profile
from editor.prompts.templates import evenly_spaced
from editor.sites.registry import name_sites
from research.emoji.evaluate import measure_recognition

SHARED = ("text_encoder", "vae")
FOXES = [ImageSpec(prompt, 1) for prompt in ("a fox, noto", "twemoji style fox", "a fluent emoji of a fox", "a fox")]


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return load_pipeline(DIT_WEIGHTS)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return open_judge(JUDGE, DIT_WEIGHTS, DIT_PROFILE)


def generate(pipeline: Any, specs: list[ImageSpec]) -> list[Image]:
    sampler = choose_sampler(Validation(), DIT_PROFILE, pipeline, DeviceSettings(device="cpu").resolve())
    return generate_images(pipeline, sampler, specs)


def test_new_weights_are_at_most_25_megabytes_and_the_others_those_of_emoji() -> None:
    own, emoji = weight_files(DIT_WEIGHTS), weight_files(WEIGHTS)
    shared = {name for name in own if name.split("/")[0] in SHARED}
    assert len(shared) == len(SHARED)
    assert all(own[name].read_bytes() == emoji[name].read_bytes() for name in shared)
    assert sum(path.stat().st_size for name, path in own.items() if name not in shared) <= 25_000_000


def test_it_is_found_by_its_name_with_its_own_profile() -> None:
    assert embedded_model_folder("emoji-dit") == DIT_WEIGHTS
    assert load_profile(DIT_WEIGHTS) == DIT_PROFILE


def test_generated_images_match_their_prompts(pipeline: Any, judge: Judge) -> None:
    phrases = evenly_spaced(styled_object_phrases(), 12)
    figures = measure_recognition(
        judge, generate(pipeline, [ImageSpec(phrase.text(), 0) for phrase in phrases]), phrases
    )
    assert figures["object_accuracy"] >= 0.90
    assert figures["style_accuracy"] >= 0.90


@pytest.mark.parametrize(("precision", "mean", "most"), [("float32", 0.01, 1), ("bfloat16", 0.5, 8)])
def test_an_image_does_not_depend_on_its_batch(pipeline: Any, precision: Precision, mean: float, most: int) -> None:
    sampler = Sampler(10, 1.0, precision, height=64, width=64)
    together, alone = (generate_images(pipeline, sampler, FOXES[:count])[0] for count in (2, 1))
    difference = np.abs(together.astype(int) - alone.astype(int))
    assert difference.mean() < mean
    assert difference.max() <= most


def test_a_default_removal_closes_both_routes(pipeline: Any, judge: Judge) -> None:
    request = EditRequest.model_validate(
        {"model": "emoji-dit", "removals": [{"concept": "fox", "replacement": "dog face"}]}
    )
    edits = solve(open_model(DIT_WEIGHTS), request)
    updates = [update for edit in edits for update in edit.updates]
    assert {update.component for update in updates} == {"text_encoder", "transformer"}
    with edited_weights(pipeline, updates):
        images = generate(pipeline, FOXES)
    found, _ = judge.classify("object", judge.embed_images(images), judge.class_names("object"))
    assert found == ["dog face"] * len(FOXES)


def test_a_ledger_stores_the_default_sites_by_name() -> None:
    default, published = EditOptions(), EditOptions(method="diff_quickfix")
    dit, unet = open_checkpoint(DIT_WEIGHTS), open_checkpoint(WEIGHTS)
    assert name_sites(default, dit).sites == ["text_encoder", "text_gate"]
    assert name_sites(published, dit).sites == name_sites(default, unet).sites == [0]
    assert name_sites(EditOptions(sites="all"), dit).sites == "all"
