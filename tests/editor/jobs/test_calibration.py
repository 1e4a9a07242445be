"""A base model is calibrated once: its concepts are measured, and instruments trained that feature scores load."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from api_schemas.features import FEATURE_IMAGES, FEATURES_FILE, FeatureIndex
from editor.emoji.profile import PROFILE
from editor.errors import FeatureError
from editor.features.blocks import feature_modules
from editor.generation.config import Image, Sampler
from editor.generation.sampling import ImageCache
from editor.jobs.calibration import CalibrationOptions, CalibrationRun
from editor.jobs.calibration_job import list_files
from editor.judging.feature_scores.calibration import CALIBRATION_FILE, load_instruments, read_calibration
from editor.prompts import PromptBuilder
from tests.fakes.pipelines import shared_pipeline
from tests.fakes.text_encoders import clip_tokenizer

OPTIONS = CalibrationOptions(objects=14, images=4, latents=16, active_latents=2, training_steps=20)


class PlantedJudge:
    """Recognises the object of every image except those about ``blind_to``; images come in the order of the prompts."""

    short_id = "planted@0"

    def __init__(self, run_phrases: Sequence[Any], blind_to: Sequence[str] = ()) -> None:
        self.phrases, self.blind_to = run_phrases, blind_to

    def embed_images(self, images: Sequence[Image]) -> Tensor:
        assert len(images) == len(self.phrases)
        return torch.zeros(len(images), 1)

    def classify(self, kind: str, embeddings: Tensor, names: Sequence[str]) -> tuple[list[str], Tensor]:
        wanted = [getattr(phrase, kind) for phrase in self.phrases]
        seen = ["nothing" if name in self.blind_to else name for name in wanted]
        return seen, torch.zeros(len(wanted), len(names))


def make_run(folder: Path, family: str = "sdxl", blind_to: Sequence[str] = ()) -> CalibrationRun:
    pipeline = shared_pipeline(family)
    builder = PromptBuilder(clip_tokenizer(), PROFILE)
    images = ImageCache(folder / "images", "digest")
    run = CalibrationRun(folder / "calibration", pipeline, builder, None, Sampler(1, 1.5), images, OPTIONS)  # type: ignore[arg-type]
    return replace(run, judge=PlantedJudge(run.phrases, blind_to), model="weights")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrated")
    make_run(folder, blind_to=["noto"]).run()
    return folder


def test_calibration_names_the_weights_and_what_the_images_depend_on(folder: Path) -> None:
    calibration = read_calibration(folder / "calibration")
    assert (calibration.model, calibration.images_digest) == ("weights", "digest")
    with pytest.raises(FeatureError, match="another model"):
        replace(make_run(folder), images=ImageCache(folder / "images", "other components")).run()


def test_concepts_that_the_judge_does_not_see_are_listed_as_unknown(folder: Path) -> None:
    calibration = read_calibration(folder / "calibration")
    assert len(calibration.known("object")) == 14
    assert [concept.name for concept in calibration.concepts if not concept.known] == ["noto"]
    assert calibration.controls == calibration.known("object")


def test_instruments_read_the_calibrated_modules(folder: Path) -> None:
    instruments = load_instruments(folder / "calibration")
    pipeline = shared_pipeline("sdxl")
    assert {kind: tool.place.module for kind, tool in instruments.autoencoders.items()} == feature_modules(pipeline)
    for kind, tool in instruments.autoencoders.items():
        known = read_calibration(folder / "calibration").known(kind)
        assert set(known) <= set(tool.directions)
        assert set(tool.directions) == set(tool.features)
        assert instruments.heads[kind].classifier.config.classes == tuple(sorted(known))


def test_probe_directions_separate_the_training_images(folder: Path) -> None:
    run, instruments = make_run(folder, blind_to=["noto"]), load_instruments(folder / "calibration")
    rows = run.store("object").maps().mean((2, 3)).double()
    directions = instruments.autoencoders["object"].directions
    names = list(run.labels("object", torch.arange(len(rows))))
    logits = torch.stack(
        [rows @ weight + bias for weight, bias in map(directions.__getitem__, dict.fromkeys(names))], 1
    )
    predicted = [list(dict.fromkeys(names))[i] for i in logits.argmax(1).tolist()]
    assert np.mean([a == b for a, b in zip(predicted, names, strict=True)]) > 3 / 14, "far above chance"


def test_features_are_published_with_the_images_they_respond_to(folder: Path) -> None:
    calibration = read_calibration(folder / "calibration")
    names = [file.name for file in list_files(calibration, folder / "calibration")]
    for record in calibration.autoencoders:
        home = folder / "calibration" / record.folder
        index = FeatureIndex.model_validate_json((home / FEATURES_FILE).read_bytes())
        assert (index.kind, index.module, index.image_count) == (record.kind, record.module, 56)
        read = {(name, feature.latent) for feature in index.features for name in feature.concepts}
        alive = {feature.latent for feature in index.features}
        assert read == {
            (name, latent) for name, latents in record.latents.items() for latent in latents if latent in alive
        }
        assert {f"{record.folder}/{FEATURES_FILE}", f"{record.folder}/{FEATURE_IMAGES}"} <= set(names)


def test_finished_calibration_is_not_repeated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageCache, "generate", lambda *_: pytest.fail("generated images again"))
    assert make_run(folder).run() == read_calibration(folder / "calibration")


def test_interrupted_calibration_reuses_its_images_and_recordings(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_calibration(folder / "calibration")
    (folder / "calibration" / CALIBRATION_FILE).unlink()
    monkeypatch.setattr("editor.generation.sampling.generate_images", lambda *_: pytest.fail("generated images again"))
    assert make_run(folder, blind_to=["noto"]).run() == before


def test_folder_of_another_model_is_refused(folder: Path) -> None:
    run = make_run(folder)
    with pytest.raises(FeatureError, match="another model"):
        replace(run, images=replace(run.images, model_digest="other")).run()


def test_too_few_recognised_objects_are_refused_before_training(tmp_path: Path) -> None:
    run = make_run(tmp_path, blind_to=PROFILE.object_names)
    with pytest.raises(FeatureError, match="recognises 0 of the 14 objects"):
        run.run()
    assert not (tmp_path / "calibration").exists()


@pytest.mark.parametrize("family", ["stable-diffusion-1", "sd3", "flux", "pixart", "sana"])
def test_every_family_has_modules_that_can_be_recorded(tmp_path: Path, family: str) -> None:
    run = make_run(tmp_path, family)
    run = replace(run, options=replace(OPTIONS, objects=2, images=1))
    run.record_activations()
    assert run.store("object").maps().shape[0] == 2
