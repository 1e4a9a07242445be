"""`expunge profiles`: list, show and check."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api_schemas.errors import UsageError
from editor.cli.profiles import profiles
from editor.emoji.profile import PROFILE
from editor.errors import CheckpointError
from editor.prompts.profile import PROFILE_FILE, general_profile


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(profiles, arguments, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout


def write_profile(folder: Path, **changes: object) -> Path:
    path = folder / PROFILE_FILE
    path.write_text(PROFILE.model_copy(update=changes).model_dump_json())
    return path


def test_shipped_profiles_and_that_of_a_model_are_listed(tmp_path: Path) -> None:
    write_profile(tmp_path, styles=("ink",))
    rows = {row["profile"]: row for row in json.loads(run("list", str(tmp_path), "--json"))}
    assert rows.keys() == {"general", "emoji", str(tmp_path)}
    assert rows["general"]["objects"] == len(general_profile().object_names)
    assert rows[str(tmp_path)]["styles"] == 1
    assert "general" in run("list")


def test_groups_styles_and_templates_are_shown(tmp_path: Path) -> None:
    shown = run("show", str(write_profile(tmp_path)))
    assert all(group in shown for group in PROFILE.objects)
    assert all(wording in shown for wording in PROFILE.held_out_wordings)
    assert json.loads(run("show", "general", "--json"))["parents"]["songbirds"] == "bird"


def test_a_concept_gets_its_class_a_replacement_and_neighbours() -> None:
    fox = json.loads(run("show", "general", "--concept", "Fox", "--json"))
    assert (fox["group"], fox["parent"]) == ("wild dogs", "wild animal")
    assert fox["replacement"] in fox["neighbours"]
    assert "fox" not in fox["replacement"], "an arctic fox is a fox"
    monet = json.loads(run("show", "general", "--concept", "style:Claude Monet", "--json"))
    assert monet["replacement"] in general_profile().styles
    assert "wild animal" in run("show", "general", "--concept", "fox")
    assert "not in the profile" in run("show", "general", "--concept", "flux capacitor")


def test_every_problem_is_printed(tmp_path: Path) -> None:
    path = write_profile(tmp_path, styles=("ink", "Ink"), suffixes=("", " under a pizza"))
    problems = json.loads(run("check", str(path), "--json", code=1))["problems"]
    assert any("listed twice" in problem for problem in problems)
    assert any("names 'pizza'" in problem for problem in problems)
    assert "listed twice" in run("check", str(path), code=1)
    assert run("check", "general").strip() == "no problems"


def test_what_is_not_a_profile_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"objects": 3}')
    with pytest.raises(CheckpointError, match="not a valid profile") as invalid:
        run("check", str(tmp_path / "other.json"))
    assert invalid.value.field == "profile"
    with pytest.raises(UsageError, match="no profile 'nothing'"):
        run("show", "nothing")
    with pytest.raises(UsageError, match="objekt"):
        run("show", "general", "--concept", "objekt:fox")
