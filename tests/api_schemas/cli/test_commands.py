"""`expunge --help` and every `--help` come from light modules, and say the same thing in both places."""

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any

import pytest
import typer

from api_schemas.cli.commands import SUMMARIES
from api_schemas.cli.main import GROUP, load_command

COMMANDS = {entry.name: entry for entry in entry_points(group=GROUP) if entry.dist and entry.dist.name == "expunge"}
HEAVY = (
    "torch",
    "diffusers",
    "transformers",
    "numpy",
    "matplotlib",
    "sqlalchemy",
    "alembic",
    "celery",
    "httpx",
    "fastapi",
)
IMPORTED = """
import json, sys
from api_schemas.cli.main import main

known = set()
for line in json.loads(sys.argv[1]):
    sys.argv = ["expunge", *line]
    try:
        main()
    except SystemExit as exit:
        print("\\nIMPORTED", exit.code, *(set(sys.modules) - known))
    known = set(sys.modules)
"""
Outcome = tuple[int, set[str]]
"""An exit code, and the modules that a command line imported."""


def run_command_lines(lines: Sequence[Sequence[str]]) -> list[Outcome]:
    """Run command lines one after the other in one new process. Return what each imports that none before it did."""
    command = [sys.executable, "-c", IMPORTED, json.dumps(lines)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    outcomes = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("IMPORTED ")]
    assert len(outcomes) == len(lines)
    return [(int(code), set(modules)) for code, *modules in outcomes]


def test_every_command_is_listed_in_a_panel() -> None:
    assert SUMMARIES.keys() == COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_command_list_matches_the_help_of_each_command(name: str) -> None:
    command: Any = load_command(COMMANDS[name])
    assert SUMMARIES[name].help == command.help.partition("\n\n")[0].replace("\n", " ")


HELP = [(), ("--help",), *((name, "--help") for name in COMMANDS)]
USAGE_ERRORS = [
    ("erse",),
    ("erase", "--frobnicate"),
    ("erase", "--remove", "fox"),
    ("erase", "--remove", "van gogh style", "--out", "x"),
    ("erase", "--remove", "fox", "--model", "emojii", "--out", "x"),
    ("erase", "--remove", "fox", "--out", "x", "--label", "ticket"),
    ("prompts", "fox", "--model", "emojii"),
    ("foresee", "style of van gogh"),
    ("trace", "fox", "--model", "emojii"),
    ("api-keys", "frobnicate"),
    ("db",),
]


@pytest.fixture(scope="module")
def outcomes() -> dict[tuple[str, ...], Outcome]:
    """The command lines in one process: to start one for each takes ten times as long."""
    lines = [*HELP, *USAGE_ERRORS]
    return dict(zip(lines, run_command_lines(lines), strict=True))


@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_help_imports_nothing_heavy(arguments: tuple[str, ...], outcomes: dict[tuple[str, ...], Outcome]) -> None:
    code, modules = outcomes[arguments]
    assert code == (0 if arguments else 2)
    assert modules.isdisjoint(HEAVY)


@pytest.mark.parametrize("arguments", USAGE_ERRORS, ids=" ".join)
def test_usage_errors_import_nothing_heavy(
    arguments: tuple[str, ...], outcomes: dict[tuple[str, ...], Outcome]
) -> None:
    code, modules = outcomes[arguments]
    assert code == 2
    assert modules.isdisjoint(HEAVY)


def test_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    from api_schemas.cli.main import print_version

    with pytest.raises(typer.Exit):
        print_version(True)
    assert capsys.readouterr().out == f"expunge {version('expunge')}\n"


def test_shell_completion_is_offered_for_every_command() -> None:
    environment = {"_EXPUNGE_COMPLETE": "complete_bash", "COMP_WORDS": "expunge er", "COMP_CWORD": "1"}
    script = "import sys; sys.argv[0] = 'expunge'; from api_schemas.cli.main import root; root(prog_name='expunge')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.split() == ["erase"]
