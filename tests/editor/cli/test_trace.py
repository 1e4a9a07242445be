"""`expunge trace`, on a tiny model, from its folder to its files."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from editor import emoji
from editor.cli.trace import trace
from editor.emoji.profile import PROFILE
from editor.prompts.profile import PROFILE_FILE
from editor.tracing.result import load_trace
from editor.tracing.tracer import PARTIAL_FILE
from tests.editor.tracing.tiny_pipelines import pipeline as pipeline
from tests.editor.tracing.tiny_pipelines import xl as xl


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, pipeline: Any) -> Path:
    made = tmp_path_factory.mktemp("pipeline")
    pipeline.save_pretrained(made)
    (made / PROFILE_FILE).write_text(PROFILE.model_dump_json())
    return made


def call(folder: Path, *arguments: str) -> Any:
    app = typer.Typer()
    app.command()(trace)
    result = CliRunner().invoke(app, [*arguments, "--model-dir", str(folder), "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    return json.loads(result.stdout)


def test_trace_of_text_sites_writes_its_files(folder: Path, tmp_path: Path) -> None:
    answer = call(folder, "hot dog", "--prompts", "1", "--draws", "2", "--out", str(tmp_path))
    assert {Path(path).name for path in answer["files"]} == {
        "trace.json",
        "trace.safetensors",
        "trace.svg",
        "trace.png",
    }
    assert answer["layer"]["reason"]
    spec = load_trace(tmp_path).spec
    assert spec.places[2:4] == ("hot", "dog")
    assert not (tmp_path / PARTIAL_FILE).exists()


@pytest.mark.parametrize(
    "asked",
    [
        ("ink", "--kind", "style", "--corruption", "swap", "--window", "2"),
        ("blue", "--kind", "background", "--sites", "cross-attention"),
        ("fox", "--sites", "unet", "--memory", "20MB"),
        ("fox", "--confirm", "2"),
    ],
)
def test_trace_of_other_sites_and_corruptions(
    folder: Path, asked: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPUNGE_JUDGE", str(emoji.JUDGE))
    answer = call(folder, *asked, "--prompts", "2", "--draws", "1", "--steps", "2")
    effects = [site["effect"]["value"] for site in answer["trace"]["sites"]]
    assert len(effects) >= 4
    assert any(abs(effect) > 1e-6 for effect in effects)
    assert ("--confirm" in asked) == (answer["rank_correlation"] is not None)
    if "cross-attention" in asked:
        assert max(effects) == pytest.approx(1, abs=0.5), "the layers that read the prompt carry most of it"


@pytest.mark.parametrize("asked", [("--encoder", "text_encoder_2"), (), ("--read-out", "noise"), ("--sites", "unet")])
def test_trace_of_sdxl_encoders(xl: Any, tmp_path: Path, asked: tuple[str, ...]) -> None:
    xl.save_pretrained(tmp_path / "xl")
    answer = call(tmp_path / "xl", "fox", *asked, "--prompts", "2", "--draws", "1", "--steps", "2")
    sites = [entry["site"] for entry in answer["trace"]["sites"]]
    towers = {site.get("tower", 0) for site in sites}
    assert towers == ({0} if "--encoder" in asked or "unet" in asked else {0, 1})
    assert any(abs(entry["effect"]["value"]) > 1e-6 for entry in answer["trace"]["sites"])
