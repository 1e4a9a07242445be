"""`expunge apply`: its text and JSON output, and its errors."""

import json
import sys
from pathlib import Path

import pytest
import typer
from safetensors.torch import load_file

from api_schemas.cli.main import FAILED, run
from editor.checkpoints.tensor_update import TensorUpdate
from editor.cli.apply import apply
from editor.publishing.delta import write_delta

BASE = "text_encoder/model.safetensors"


@pytest.fixture
def delta(model_dir: Path, update: TensorUpdate, tmp_path: Path) -> Path:
    write_delta([update], model_dir, tmp_path / "delta.safetensors")
    return tmp_path / "delta.safetensors"


def expunge_apply(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    app = typer.Typer()
    app.command()(apply)
    monkeypatch.setattr(sys, "argv", ["expunge", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        run(app)
    return int(caught.value.code or 0)


def test_apply_writes_the_files_and_prints_their_paths(
    model_dir: Path,
    update: TensorUpdate,
    delta: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert expunge_apply(monkeypatch, model_dir, delta, "--out", tmp_path / "out") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out' / BASE}\n"
    assert load_file(tmp_path / "out" / BASE)[update.stored_name].equal(update.edited)
    assert (tmp_path / "out" / "text_encoder" / "config.json").is_file()


def test_json_output_contains_only_json(
    model_dir: Path, delta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expunge_apply(monkeypatch, model_dir / BASE, delta, "--out", tmp_path / "one.safetensors", "--json") == 0
    printed = capsys.readouterr()
    assert (json.loads(printed.out), printed.err) == ({"files": [str(tmp_path / "one.safetensors")]}, "")


def test_error_is_one_line_with_a_remedy(
    model_dir: Path, delta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [model_dir, delta, "--out", tmp_path / "out", "--verify-file"]
    assert expunge_apply(monkeypatch, *arguments) == FAILED
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "Leave out --verify-file" in message
    assert not (tmp_path / "out").exists()
