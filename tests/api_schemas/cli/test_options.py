"""Options are declared once, and every command that inject_options them has them."""

from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from api_schemas.cli.common_options import inject_options
from api_schemas.cli.edit import edit
from api_schemas.cli.options import read_request
from api_schemas.edits import EditRequest
from api_schemas.errors import UsageError
from editor.cli.erase import erase
from editor.cli.prompts import prompts

asked: list[tuple[EditRequest, int]] = []


@inject_options("request", read_request)
def command(request: EditRequest, number: Annotated[int, typer.Option()] = 3) -> None:
    """Remember."""
    asked.append((request, number))


def run(*arguments: str) -> tuple[EditRequest, int]:
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, UsageError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return asked.pop()


def test_command_receives_the_request_and_its_own_options() -> None:
    request, number = run(
        *("--remove", "fox=dog", "--remove", "style:ink", "--alias", "fox=vixen", "--pin", "an owl", "--number", "5"),
        *("--preservation", "2", "--no-validate", "--no-spellings", "--preserve", "wolf"),
    )
    fox, ink = request.removals
    assert (fox.replacement, fox.aliases, ink.kind, number) == ("dog", ["vixen"], "style", 5)
    assert (fox.spellings, ink.preserve) == ([], ["wolf"])
    assert (request.options.preservation, request.options.pins) == (2.0, ["an owl"])
    assert not request.validation.enabled


def test_omitted_options_have_the_defaults_of_the_request() -> None:
    request, number = run("--remove", "fox")
    assert number == 3
    assert request == EditRequest.model_validate({"removals": [{"concept": "fox"}]})


def test_excluded_prompts_are_those_of_every_removal() -> None:
    options = ("--exclude-prompt", "a fox", "--exclude-prompt", "an owl in ink")
    removals = run("--remove", "fox", "--remove", "owl", *options)[0].removals
    assert [removal.exclude_prompts for removal in removals] == [["a fox", "an owl in ink"]] * 2


def test_options_of_one_invocation_do_not_affect_the_next() -> None:
    assert run("--remove", "fox", "--pin", "an owl")[0].options.pins == ["an owl"]
    assert run("--remove", "fox")[0].options.pins == []


@pytest.mark.parametrize("function", [edit, erase, prompts])
def test_commands_with_removals_have_all_removal_options(function: object) -> None:
    app = typer.Typer()
    app.command()(function)  # type: ignore[type-var]
    known = {option for parameter in typer.main.get_command(app).params for option in parameter.opts}
    names = {"--alias", "--title", "--translation", "--spelling", "--no-spellings"}
    assert names | {"--preserve", "--exclude", "--exclude-prompt"} <= known
    if function is not prompts:
        assert {"--remove", "--pin", "--preservation", "--seed", "--out"} <= known


def test_attack_option_accepts_names_budgets_plugins_and_all() -> None:
    options = ("--attack", "names", "--attack", "resurgence=300", "--attack", "mine")
    attacks = run("--remove", "fox", *options)[0].validation.attacks
    on = {name: wish.budget for name, wish in attacks.by_name.items() if wish.enabled}
    assert on == {"names": None, "resurgence": 300, "mine": None}
    everything = run("--remove", "fox", "--attack", "all")[0].validation.attacks
    assert (everything.disabled_titles, everything.plugins) == ([], {})


@pytest.mark.parametrize("budget", ["lots", "²", "9" * 5000])
def test_attack_budget_must_be_a_number(budget: str) -> None:
    with pytest.raises(UsageError, match=f"names={budget}"):
        run("--remove", "fox", "--attack", f"names={budget}")


def test_command_keeps_its_name_and_docstring() -> None:
    assert edit.__doc__ is not None
    assert edit.__name__ == "edit"
