"""From a folder of pictures to an autoencoder that knows what the folders are called."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from api_schemas.errors import UsageError
from editor import emoji
from editor.cli.features import features
from editor.emoji.composites import Artwork, Subject
from editor.emoji.vocabulary import STYLES
from editor.errors import FeatureError
from editor.features.activations import ActivationStore
from editor.features.activations.noised_source import encode_pixels
from editor.features.activations.store import pool_maps
from editor.features.clip.image_encoder import open_image_encoder
from editor.features.image_folder import crop_square, folder_labels, list_images, read_image
from editor.generation.pipelines import load_pipeline
from tests.editor.checkpoints.layouts import write_safetensors
from tests.editor.generation.pipelines import small_pipelines as small

ASKED = (1, 4)
"""Styles."""


def run(*arguments: object) -> str:
    done = CliRunner().invoke(features, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve objects in two styles, each style in a folder."""
    folder = tmp_path_factory.mktemp("pictures")
    for style in ASKED:
        (folder / STYLES[style]).mkdir()
        for number, pixels in enumerate(Artwork().render([Subject(thing, style, 0) for thing in range(12)])):
            image = ((pixels + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
            Image.fromarray(image).save(folder / STYLES[style] / f"{number:02}.png")
    return folder


def test_recording_is_trained_on_and_shown(pictures: Path, tmp_path: Path) -> None:
    said = json.loads(run("record", pictures, tmp_path / "rec", "--timestep", 100, "--json"))
    (one,) = said["recordings"]
    store = ActivationStore(Path(one["folder"]))
    assert (one["rows"], one["width"]) == (24 * 16, 256)
    assert store.item_labels["folder"] == sorted(STYLES[style] for style in ASKED for _ in range(12))
    options = ("--latents", 32, "--k", 4, "--steps", 30, "--held-out", 0.3, "--json")
    card = json.loads(run("train", one["folder"], tmp_path / "sae", *options))
    assert set(card["concepts"]["folder"]["best"]) == {STYLES[style] for style in ASKED}
    assert -1 < card["morans_i"] < 1
    shown = run("show", tmp_path / "sae")
    assert "folder" in shown
    assert "on reconstructions" in shown


def test_recorded_rows_match_the_activations_of_the_model(pictures: Path, tmp_path: Path) -> None:
    """Latents of the file's own pixels: without noise the first block gives the same."""
    run("record", pictures, tmp_path, "--module", "conv_in", "--timestep", 0, "--pooling", "mean", "--json")
    pipeline, store = load_pipeline(emoji.WEIGHTS), ActivationStore(tmp_path / "conv_in" / "t000")
    pixels = torch.from_numpy(np.array(read_image(list_images(pictures)[5]))).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        expected = pool_maps(pipeline.unet.conv_in(encode_pixels(pipeline, pixels)), "mean")[0]
    assert torch.nn.functional.cosine_similarity(store.rows()[5], expected, dim=0) > 0.98


def test_embeddings_of_a_clip_model_are_recorded(pictures: Path, tmp_path: Path) -> None:
    said = json.loads(run("record", pictures, tmp_path, "--clip", emoji.JUDGE, "--json"))
    store = ActivationStore(Path(said["recordings"][0]["folder"]))
    own = open_image_encoder(emoji.JUDGE).embed_images([read_image(list_images(pictures)[7])])[0]
    torch.testing.assert_close(store.rows()[7], own, rtol=1e-3, atol=1e-3)


def test_pictures_are_center_cropped_to_a_square() -> None:
    wide = np.zeros((4, 12, 3), dtype=np.uint8)
    wide[:, 4:8] = 255
    assert crop_square(wide, 8).min() == pytest.approx(1)
    assert crop_square(wide, 8).shape == (1, 3, 8, 8)


def test_labels_are_the_folders_if_every_picture_is_in_one(tmp_path: Path) -> None:
    places = [tmp_path / "a" / "1.png", tmp_path / "b" / "c" / "2.png"]
    assert folder_labels(tmp_path, places) == {"folder": ["a", "b"]}
    assert folder_labels(tmp_path, [*places, tmp_path / "3.png"]) == {}


def test_missing_and_unreadable_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="no images"):
        list_images(tmp_path)
    (tmp_path / "x.png").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="not a readable image"):
        read_image(list_images(tmp_path)[0])


def test_activations_of_a_single_file_are_recorded(pictures: Path, tmp_path: Path) -> None:
    """The file lacks the autoencoder, which the folder of components contains."""
    pipeline = small.stable_diffusion_1()
    tensors = {name: value for name, value in small.single_file(pipeline).items() if "first_stage_model" not in name}
    model = write_safetensors(
        tmp_path / "model.safetensors", {name: value.contiguous() for name, value in tensors.items()}
    )
    components = small.write_configs(tmp_path / "components", pipeline)
    pipeline.vae.save_pretrained(components / "vae")
    files = ("--model-dir", model, "--components", components)
    said = json.loads(run("record", pictures, tmp_path / "store", *files, "--pooling", "mean", "--json"))
    assert [recording["width"] for recording in said["recordings"]] == [32]
