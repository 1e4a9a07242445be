"""`expunge inspect` and `expunge diff`, run as a user does."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from api_schemas.cli.main import root
from editor.checkpoints import OUT_PROJ, open_checkpoint
from editor.checkpoints.diff import CHUNK_BYTES, compare_weights
from editor.checkpoints.inspect import inspect_weights
from editor.checkpoints.tensor_update import TensorUpdate
from editor.emoji import WEIGHTS as WEIGHTS_OF_EMOJI
from editor.errors import CheckpointError
from editor.publishing.delta import write_delta
from tests.fakes.pipelines import save_model

OUT = OUT_PROJ.format(layer=0)
STORED = OUT.removeprefix("text_model.")
WEIGHTS = Path("text_encoder") / "model.safetensors"


def run(*arguments: object) -> tuple[int, Any]:
    result = CliRunner().invoke(root, [str(argument) for argument in arguments] + ["--json"])
    return result.exit_code, json.loads(result.stdout)


def edited(model_dir: Path, target: Path) -> Path:
    """The model with one element of one tensor changed by 0.5."""
    shutil.copytree(model_dir, target)
    tensors = load_file(target / WEIGHTS)
    tensors[STORED][3, 4] += 0.5
    save_file(tensors, target / WEIGHTS, metadata={"format": "pt"})
    return target


@pytest.fixture
def delta(model_dir: Path, tmp_path: Path) -> Path:
    encoder = open_checkpoint(model_dir).encoders[0]
    base = encoder.tensor(OUT)
    up, down = torch.ones(64, 1, dtype=torch.float64), torch.ones(1, 64, dtype=torch.float64)
    update = TensorUpdate("text_encoder", OUT, encoder.stored_name(OUT), encoder.file_of(OUT), base, up, down)
    write_delta([update], model_dir, tmp_path / "delta.safetensors", request="r")
    return tmp_path / "delta.safetensors"


def test_inspect_lists_the_tensors_that_an_edit_reads_and_changes(model_dir: Path) -> None:
    code, found = run("inspect", model_dir)
    assert code == 0
    (encoder,), (file,) = found["encoders"], found["files"]
    assert (found["family"], found["refused"], found["second_ways"]) == ("stable-diffusion-1", None, [])
    assert (encoder["width"], encoder["heads"], encoder["layers"], encoder["vocabulary"]) == (64, 4, 3, 814)
    assert (encoder["file"], encoder["edited"], encoder["edited_bytes"]) == (WEIGHTS.as_posix(), STORED, 64 * 64 * 4)
    assert encoder["read_by_row"] == 64 * 4
    attention = 4 * (64 * 64 + 64) + 2 * 64
    assert sum(encoder["read_whole"].values()) == 4 * (attention + encoder["context"] * 64)
    assert file["size"] == (model_dir / WEIGHTS).stat().st_size
    assert (file["tensors"], set(file["dtypes"])) == (len(load_file(model_dir / WEIGHTS)), {"F32"})


def test_inspect_reads_headers_only(model_dir: Path, tmp_path: Path) -> None:
    """All numbers are NaN, which any read of them would refuse."""
    shutil.copytree(model_dir, tmp_path / "model")
    tensors = {name: tensor * float("nan") for name, tensor in load_file(model_dir / WEIGHTS).items()}
    save_file(tensors, tmp_path / "model" / WEIGHTS)
    assert inspect_weights(tmp_path / "model").encoders


def test_inspect_shows_the_base_files_of_a_delta(delta: Path) -> None:
    _, found = run("inspect", delta)
    (file,) = found["files"]
    assert file["metadata"]["expunge"]["files"][WEIGHTS.as_posix()]["tensors"][STORED]["name"] == OUT
    assert "no CLIP text encoder" in found["refused"]
    assert found["family"] is None


def test_inspect_explains_why_a_model_is_refused(model_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(model_dir, tmp_path / "model")
    tensors = load_file(model_dir / WEIGHTS)
    tensors[STORED] = tensors[STORED].to(torch.float8_e4m3fn)
    save_file(tensors, tmp_path / "model" / WEIGHTS)
    found = inspect_weights(tmp_path / "model")
    assert "quantised" in (found.refused or "")
    assert found.files[0].dtypes["F8_E4M3"] == 64 * 64


@pytest.mark.parametrize("command", [["inspect"], ["diff", "."]])
def test_damaged_and_missing_files_are_refused(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"\x80\x04")
    for path in (tmp_path / "x.safetensors", tmp_path / "missing"):
        result = CliRunner().invoke(root, [*command, str(path)])
        assert isinstance(result.exception, CheckpointError)


@pytest.mark.parametrize("whole", [True, False])
def test_diff_reports_the_changed_tensor_and_the_size_of_the_change(
    model_dir: Path, tmp_path: Path, whole: bool
) -> None:
    other = edited(model_dir, tmp_path / "edited")
    sides = (model_dir, other) if whole else (model_dir / WEIGHTS, other / WEIGHTS)
    code, found = run("diff", *sides)
    assert code == 1
    (each,) = found["different"]
    base = load_file(model_dir / WEIGHTS)
    assert (each["file"], each["tensor"]) == (WEIGHTS.as_posix() if whole else "", STORED)
    assert (each["status"], each["changed"], each["bytes"]) == ("changed", 1, 64 * 64 * 4)
    assert each["max_abs"] == pytest.approx(0.5)
    assert each["relative"] == pytest.approx(0.5 / float(base[STORED].norm()))
    assert found["same"] == len(base) - 1


def test_diff_of_identical_models_is_empty(model_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(model_dir, tmp_path / "copy")
    for other in (model_dir, tmp_path / "copy"):
        code, found = run("diff", model_dir, other)
        assert (code, found["different"]) == (0, [])


@pytest.mark.parametrize("whole", [True, False])
def test_diff_of_a_base_and_a_delta_compares_the_tensors_of_the_delta(
    model_dir: Path, delta: Path, whole: bool
) -> None:
    code, found = run("diff", model_dir if whole else model_dir / WEIGHTS, delta)
    (each,) = found["different"]
    assert (code, each["tensor"], found["same"]) == (1, STORED, 0)
    assert each["max_abs"] == pytest.approx(1, rel=1e-6)
    assert each["changed"] == 64 * 64


def test_diff_distinguishes_all_kinds_of_difference(tmp_path: Path) -> None:
    large = torch.arange(3 * CHUNK_BYTES // 4, dtype=torch.float32)
    first = {"same": large, "late": large, "typed": large[:9], "shaped": large[:4], "gone": large[:1], "nan": large[:2]}
    second = first | {"late": large.clone(), "typed": large[:9].half() + 1, "shaped": large[:4].reshape(2, 2)}
    second["late"][-1] += 3
    second |= {"new": large[:1].clone(), "nan": torch.tensor([0.0, float("nan")])}
    del second["gone"]
    for name, tensors in (("a", first), ("b", second)):
        save_file({key: tensor.clone() for key, tensor in tensors.items()}, tmp_path / name)
    seen: list[tuple[int, int]] = []
    (tmp_path / "a").rename(tmp_path / "a.safetensors")
    (tmp_path / "b").rename(tmp_path / "b.safetensors")
    found = compare_weights(tmp_path / "a.safetensors", tmp_path / "b.safetensors", lambda *at: seen.append(at))
    status = {each.tensor: (each.status, each.max_abs) for each in found.different}
    assert status == {
        "late": ("changed", 3.0),
        "typed": ("retyped", 1.0),
        "shaped": ("reshaped", None),
        "gone": ("removed", None),
        "new": ("added", None),
        "nan": ("changed", None),
    }
    assert found.same == 1
    assert seen[-1][0] == seen[-1][1]


def test_files_with_the_same_tensor_names_must_be_compared_as_folders(model_dir: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_file({"x": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(CheckpointError, match="same name"):
        compare_weights(tmp_path, tmp_path / "one.safetensors")


def test_tables_are_printed_without_json(model_dir: Path, tmp_path: Path) -> None:
    shown = CliRunner().invoke(root, ["inspect", str(model_dir)]).stdout
    assert "stable-diffusion-1" in shown
    assert STORED in shown
    shown = CliRunner().invoke(root, ["diff", str(model_dir), str(edited(model_dir, tmp_path / "e"))]).stdout
    assert "1 differ" in shown


def test_the_map_that_reads_a_sequence_of_text_is_shown(tmp_path: Path) -> None:
    model = save_model("pixart", tmp_path / "model")
    code, found = run("inspect", model)
    weights = load_file(model / found["text_gate"]["file"])
    assert code == 0
    assert found["encoders"] == []
    assert found["text_gate"]["shape"] == list(weights[found["text_gate"]["edited"]].shape)
    shown = CliRunner().invoke(root, ["inspect", str(model)]).stdout
    assert "text gate transformer reads text through caption_projection.linear_1.weight" in shown


def test_a_unet_has_no_text_gate() -> None:
    assert run("inspect", WEIGHTS_OF_EMOJI)[1]["text_gate"] is None
