"""`--profile` replaces the model's own profile."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from api_schemas.edits import EditRequest
from api_schemas.errors import UsageError
from editor import emoji
from editor.cli.erase import erase
from editor.cli.forecast import foresee
from editor.cli.profile_option import read_profile_option
from editor.cli.prompts import prompts
from editor.emoji.profile import PROFILE
from editor.errors import CheckpointError
from editor.jobs.context import JobContext
from editor.jobs.job import Job
from editor.prompts.profile import general_profile, load_profile
from editor.publishing.provenance import profile_record
from editor.tracing.tracer import TraceOptions, Tracer

OWN = PROFILE.model_copy(
    update={"plain_wordings": ("a mural of {a}",), "held_out_wordings": ("{bare}, mural, {style}",)}
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "own.json"
    path.write_text(OWN.model_dump_json())
    return path


def run(command: Callable[..., None], *arguments: str) -> str:
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_prompts_are_made_from_the_profile(file: Path) -> None:
    texts = [prompt["text"] for prompt in json.loads(run(prompts, "fox=owl", "--json"))["removals"][0]["prompts"]]
    own = json.loads(run(prompts, "fox=owl", "--profile", str(file), "--json"))["removals"][0]["prompts"]
    assert "a mural of a fox" not in texts
    assert "a mural of a fox" in [prompt["text"] for prompt in own]


def test_the_forecast_reads_prompts_of_the_profile(file: Path) -> None:
    found = json.loads(run(foresee, "fox=owl", "--profile", str(file), "--json"))
    assert "mural" in json.dumps(found["encoders"][0])


def test_a_trace_uses_the_profile() -> None:
    options = TraceOptions("fox", prompts=4)
    for profile, expected in ((None, False), (OWN, True)):
        tracer = Tracer(emoji.WEIGHTS, emoji.JUDGE, options, profile=profile)
        assert (tracer.model.used_profile.plain_wordings == OWN.plain_wordings) == expected
        assert all((builder.profile == OWN) == expected for builder in tracer.model.prompt_builders)


def test_the_report_says_which_profile_was_used() -> None:
    used = {
        "model": (load_profile(emoji.WEIGHTS), emoji.WEIGHTS),
        "general": (general_profile(), Path("model.safetensors")),
        "given": (OWN, emoji.WEIGHTS),
    }
    records = {name: profile_record(*of) for name, of in used.items()}
    assert {name: record.name for name, record in records.items()} == {name: name for name in used}
    assert len({record.sha256 for record in records.values()}) == 3


def test_a_job_uses_the_profile(tmp_path: Path) -> None:
    context = JobContext(
        request=EditRequest.model_validate({"removals": [{"concept": "fox"}]}),
        model_dir=emoji.WEIGHTS,
        workdir=tmp_path,
        cache_dir=tmp_path,
        progress=lambda *_: None,
        job_id="job",
        now=datetime.now(UTC),
        profile=OWN,
    )
    assert {builder.profile.plain_wordings for builder in Job(context).model.prompt_builders} == {OWN.plain_wordings}


@pytest.mark.parametrize("command", [erase, foresee])
def test_a_ledger_is_solved_with_the_profile_of_the_model(
    command: Callable[..., None], file: Path, tmp_path: Path
) -> None:
    own = ["--remove", "fox", "--out", str(tmp_path / "out")] if command is erase else ["fox"]
    with pytest.raises(UsageError, match="ledger"):
        run(command, *own, "--profile", str(file), "--ledger", str(tmp_path / "ledger"))
    assert not (tmp_path / "out").exists()


def test_an_invalid_profile_names_the_option(file: Path) -> None:
    file.write_text("{}")
    with pytest.raises(CheckpointError) as invalid:
        read_profile_option(file)
    assert invalid.value.field == "profile"
