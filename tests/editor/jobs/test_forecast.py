"""`expunge foresee`: the forecast matches the edit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CLIPTextModel
from typer.testing import CliRunner

from api_schemas.cli.main import root
from api_schemas.cli.removal_arguments import build_request
from editor.checkpoints import open_checkpoint
from editor.cli.forecast import BAR_WIDTH, bar
from editor.errors import LedgerConflict
from editor.jobs.forecast import forecast
from editor.ledger import LedgerEntry, LedgerFolder
from editor.prompts import PromptBuilder
from tests.editor.cli.ledger_commands import run

CORPUS = ("a fox", "[red] pizza in the style of noto", "a fox", "a rocket", "owl " * 60)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(CORPUS) + "\n")
    return path


def last_states(encoder: CLIPTextModel, ids: torch.Tensor, eos: int) -> torch.Tensor:
    with torch.no_grad():
        states: torch.Tensor = encoder(ids[None]).last_hidden_state[0, eos:]
    return states


def relative_movements(
    before: CLIPTextModel, folder: Path, builder: PromptBuilder, prompts: Sequence[str]
) -> list[float]:
    """Measure with transformers how far the published weights move each prompt."""
    after = CLIPTextModel.from_pretrained(folder / "text_encoder")
    found = []
    for prompt in map(builder.tokenize, prompts):
        was, now = (last_states(model, prompt.ids, prompt.eos) for model in (before, after))
        found.append(float((now - was).norm() / was.norm()))
    return found


def test_forecast_matches_the_published_weights(
    model_dir: Path, encoder: CLIPTextModel, builder: PromptBuilder, corpus: Path, tmp_path: Path
) -> None:
    found = run("foresee", "fox=dog face", "--model-dir", model_dir, "--corpus", corpus)
    run("erase", "--remove", "fox=dog face", "--model-dir", model_dir, "--no-validate", "--out", tmp_path / "out")
    (one,) = found["encoders"]
    assert (one["component"], one["layers"], one["too_long"]) == ("text_encoder", [0], 1)
    assert [told["concept"] for told in one["removals"]] == ["fox"]
    prompts = [each["prompt"] for each in one["prompts"]]
    assert sorted(prompts) == sorted({*CORPUS[:4]})
    assert prompts[0] == "a fox"
    told = [each["moved"] for each in one["prompts"]]
    assert told == pytest.approx(relative_movements(encoder, tmp_path / "out", builder, prompts), rel=1e-3, abs=1e-5)
    assert told == sorted(told, reverse=True)


def test_forecast_and_report_warn_of_a_removal_that_preservation_holds_back(tmp_path: Path) -> None:
    strong = ("--preservation", "1e6")
    (one,) = run("foresee", "fox=dog face", *strong)["encoders"]
    erased = run("erase", "--remove", "fox=dog face", *strong, "--no-validate", "--out", tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert [warning.partition(" are predicted")[0] for warning in one["warnings"]] == ["1 of 1 removals"]
    assert erased["solve_warnings"] == one["warnings"]
    assert f"Warning: {one['warnings'][0]}" in page


def test_forecast_includes_the_ledger_without_changing_it(model_dir: Path, tmp_path: Path) -> None:
    checkpoint, folder = open_checkpoint(model_dir), LedgerFolder(tmp_path)
    entry = LedgerEntry.model_validate({"removal": {"concept": "owl", "replacement": "bear", "preserve": ["zeppelin"]}})
    folder.write(folder.read_for(checkpoint).add([entry]))
    before = folder.file.read_bytes()
    found = forecast(checkpoint, build_request(["fox=dog face"]), None, folder)
    assert found.ledger is not None
    assert found.ledger.active == 2
    assert [told.concept for told in found.encoders[0].removals] == ["fox"]
    assert not [each for each in found.encoders[0].prompts if "owl" in each.prompt or "zeppelin" in each.prompt]
    assert folder.file.read_bytes() == before
    with pytest.raises(LedgerConflict):
        forecast(checkpoint, build_request(["bear"]), None, folder)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["--ledger", "{tmp}/none"], "ledger"),
        (["--sites", "auto"], "sites"),
        (["--corpus", "{tmp}/empty"], "corpus"),
        (["--corpus", "{tmp}/binary"], "corpus"),
    ],
)
def test_invalid_forecast_options_are_refused(
    arguments: list[str], field: str, model_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").write_text("\n \n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    given = [argument.format(tmp=tmp_path) for argument in arguments]
    assert run("foresee", "fox", "--model-dir", model_dir, *given)["error"]["field"] == field
    assert not (tmp_path / "none").exists()


def test_printed_forecast_has_bars_and_warnings(model_dir: Path, corpus: Path) -> None:
    arguments: list[Any] = [
        "foresee",
        "hot dog=pizza",
        "--preserve",
        "dog",
        "--model-dir",
        model_dir,
        "--corpus",
        corpus,
    ]
    shown = CliRunner().invoke(root, [*map(str, arguments)]).stdout
    assert "[red] pizza" in shown
    assert "█" in shown
    assert "warning" in shown
    assert "too long for this encoder: 1" in shown


@pytest.mark.parametrize(
    ("share", "full"), [(-0.2, 0), (0.0, 0), (0.5, BAR_WIDTH // 2), (1.0, BAR_WIDTH), (1.7, BAR_WIDTH)]
)
def test_bar_does_not_exceed_its_width(share: float, full: int) -> None:
    assert bar(share) == "█" * full + "░" * (BAR_WIDTH - full)
