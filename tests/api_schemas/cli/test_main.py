"""The `expunge` command: lazy, teaching, with exit codes to rely on."""

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import typer

from api_schemas.cli import main as cli
from api_schemas.cli.main import GROUP, main
from api_schemas.errors import ClientError, UsageError
from api_schemas.problems import Problem, ServiceProblem
from editor.errors import ConceptError, PolicyError


def say_hello() -> None:
    """Say hello."""
    raise UsageError("you said hello wrongly.", remedy="Say it again.")


greetings = typer.Typer(help="Ways to greet.")
greetings.command("hello")(say_hello)


@greetings.command()
def bye() -> None:
    """Say goodbye."""
    typer.echo("bye")


@pytest.fixture(autouse=True)
def _commands(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        EntryPoint("edit", "api_schemas.cli.edit:edit", GROUP),
        EntryPoint("hello", "tests.api_schemas.cli.test_main:say_hello", GROUP),
        EntryPoint("greetings", "tests.api_schemas.cli.test_main:greetings", GROUP),
        EntryPoint("gone", "service.not_installed:gone", GROUP),
    ]

    def entry_points(group: str, name: str | None = None) -> list[EntryPoint]:
        return [entry for entry in entries if name in (None, entry.name)]

    monkeypatch.setattr(cli, "entry_points", entry_points)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["expunge", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_help_lists_all_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--help") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("edit", "hello", "greetings", "gone"))


def test_errors_are_printed_on_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "hello") == 2
    assert capsys.readouterr().err == "expunge: you said hello wrongly. Say it again.\n"


def test_entry_point_can_be_a_command_group(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "greetings", "bye") == 0
    assert capsys.readouterr().out == "bye\n"


def test_missing_extra_has_an_install_hint(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "gone", "--whatever", "x") == 2
    assert "pip install 'expunge[service]'" in capsys.readouterr().err


def test_unknown_command_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "remove") == 2


def test_errors_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options = ["--out", str(tmp_path), "--data-dir", str(tmp_path), "--json"]
    assert run(monkeypatch, "edit", "--remove", "fox=fox", *options) == 2
    assert json.loads(capsys.readouterr().out)["error"]["field"] == "replacement"


def test_unreachable_service_exits_with_code_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["--remove", "fox", "--out", str(tmp_path), "--url", "http://127.0.0.1:9", "--data-dir", str(tmp_path)]
    assert run(monkeypatch, "edit", *arguments) == 3
    assert "expunge up" in capsys.readouterr().err


@pytest.mark.parametrize(("status", "code"), [(422, 2), (413, 2), (401, 3), (500, 3)])
def test_exit_code_distinguishes_invalid_requests_from_service_errors(status: int, code: int) -> None:
    names = ("type", "title", "detail", "instance", "code", "request_id")
    problem: dict[str, Any] = dict.fromkeys(names, "x") | {"status": status}
    assert cli.exit_code(ServiceProblem(Problem.model_validate(problem))) == code
    assert cli.exit_code(ClientError("x")) == 3
    assert cli.exit_code(ConceptError("x")) == 2, "an over-long concept, for example"
    assert cli.exit_code(PolicyError("x")) == 2


def test_client_imports_neither_torch_nor_fastapi() -> None:
    program = (
        "import sys, api_schemas.cli.edit, api_schemas.cli.main; "
        "print([m for m in ('torch', 'fastapi', 'sqlalchemy', 'celery', 'editor', 'service') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
