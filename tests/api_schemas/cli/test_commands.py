"""`expunge --help` and every `--help` come from light modules, and say the same thing in both places."""

import subprocess
import sys
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
import sys
from api_schemas.cli.main import main

sys.argv = ["expunge", *sys.argv[1:]]
try:
    main()
except SystemExit as exit:
    print("\\nIMPORTED", exit.code, *sys.modules)
"""


def run_command_line(*arguments: str) -> tuple[int, set[str]]:
    """Run a command line in a process of its own; return its exit code and the modules that it imported."""
    done = subprocess.run([sys.executable, "-c", IMPORTED, *arguments], capture_output=True, text=True, check=True)
    code, *modules = done.stdout.rpartition("\nIMPORTED ")[2].split()
    return int(code), set(modules)


def test_every_command_is_listed_in_a_panel() -> None:
    assert SUMMARIES.keys() == COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_command_list_matches_the_help_of_each_command(name: str) -> None:
    command: Any = load_command(COMMANDS[name])
    assert SUMMARIES[name].help == command.help.partition("\n\n")[0].replace("\n", " ")


@pytest.mark.parametrize("arguments", [(), ("--help",), *((name, "--help") for name in COMMANDS)], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    code, modules = run_command_line(*arguments)
    assert code == (0 if arguments else 2)
    assert modules.isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "arguments",
    [
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
    ],
    ids=" ".join,
)
def test_usage_errors_import_nothing_heavy(arguments: tuple[str, ...]) -> None:
    code, modules = run_command_line(*arguments)
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
