"""`expunge features` from end to end, on rows with planted features."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from api_schemas.errors import UsageError
from editor.cli.features import features, make_config
from editor.errors import FeatureError
from editor.features.sae import load_sae
from tests.editor.features.sae.synthetic import sparse_sums

runner = CliRunner()


def run(*arguments: object) -> Result:
    return runner.invoke(features, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.safetensors"
    save_file({"rows": sparse_sums(600)[0]}, path)
    return path


def test_train_show_and_convert(tmp_path: Path, rows: Path):
    done = run("train", rows, tmp_path / "sae", "--latents", 32, "--k", 3, "--steps", 150, "--batch", 64, "--json")
    card = json.loads(done.stdout.splitlines()[-1])
    assert card["training"]["latents"] == 32
    assert card["held_out"]["rows"] == 60
    assert card["held_out"]["fvu"] < 0.6
    assert "fvu" in run("show", tmp_path / "sae").stdout
    assert json.loads(run("show", tmp_path / "sae", "--json").stdout) == card
    assert sorted(path.name for path in (tmp_path / "sae").iterdir()) == ["sae.json", "sae.safetensors"]
    run("convert", tmp_path / "sae", tmp_path / "theirs", "--to", "saelens")
    run("convert", tmp_path / "theirs", tmp_path / "back", "--to", "ours")
    assert load_sae(tmp_path / "back").latents == 32


def test_file_without_rows_is_refused(tmp_path: Path):
    (tmp_path / "rows.safetensors").write_bytes(b"nothing")
    with pytest.raises(FeatureError, match="does not contain rows"):
        run("train", tmp_path / "rows.safetensors", tmp_path / "sae")


def test_invalid_setting_is_named_in_the_error(tmp_path: Path, rows: Path):
    for option, value in (
        ("learning-rate", 0),
        ("learning-rate", "nan"),
        ("l1", "inf"),
        ("l1", -1),
        ("device", "moon"),
    ):
        with pytest.raises(UsageError, match=f"--{option}") as caught:
            run("train", rows, tmp_path / "sae", f"--{option}", value)
        assert caught.value.field == option.replace("-", "_")
        assert caught.value.remedy
    assert not (tmp_path / "sae").exists()


def test_rows_of_one_dimension_are_refused(tmp_path: Path):
    save_file({"rows": torch.zeros(9)}, tmp_path / "flat.safetensors")
    with pytest.raises(FeatureError, match="1 dimensions"):
        run("train", tmp_path / "flat.safetensors", tmp_path / "sae")


def test_explicit_options_override_the_preset():
    chosen = make_config("revelio", 8, {"steps": 5, "latents": 40})
    assert (chosen.steps, chosen.latents) == (5, 40)
    assert (chosen.batch, chosen.momentum, chosen.tied) == (8192, 0.9, False)
    assert make_config("default", 8, {"steps": 5}).latents == 32


@pytest.mark.parametrize("name", ["mid_block", "up_blocks.0", "clip_sae"])
def test_every_packaged_autoencoder_can_be_shown(name: str):
    card = json.loads(run("show", f"emoji/{name}", "--json").stdout)
    assert card["held_out"]["fvu"] < 0.3
    assert card["concepts"]["object"]["sparse_probing"]["area"] < 1


def test_page_without_images_is_refused(tmp_path: Path, rows: Path):
    run("train", rows, tmp_path / "sae", "--latents", 20, "--k", 3, "--steps", 20, "--batch", 64, "--json")
    with pytest.raises(UsageError, match="needs images"):
        run("show", tmp_path / "sae", "--page", tmp_path / "page.html")
