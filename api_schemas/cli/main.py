"""The one `expunge` command. Its sub-commands are entry points, loaded when they are used.

    [project.entry-points."expunge.commands"]
    edit = "api_schemas.cli.edit:edit"

Each names a function with Typer's annotations, or a `typer.Typer` of several, which becomes a group. So `expunge edit`
starts without torch, and a part that is not installed says which extra brings it. Exit codes of all commands: 0 done,
1 the verdict is not `passed`, 2 the input is wrong, 3 something failed.
"""

import json
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.core import TyperGroup

from api_schemas.errors import ExpungeError, UsageError
from api_schemas.problems import ServiceProblem

GROUP = "expunge.commands"
NOT_PASSED, WRONG_INPUT, FAILED = 1, 2, 3


class _LazyGroup(TyperGroup):
    """Knows the names of its commands from the metadata, and loads one when it is asked for."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return sorted(entry.name for entry in entry_points(group=GROUP))

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        for entry in entry_points(group=GROUP, name=cmd_name):
            return _command(entry)
        return None


root = typer.Typer(
    name="expunge",
    cls=_LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Remove concepts from text-to-image models, and prove it.",
)


@root.callback()
def _root() -> None:
    """Remove concepts from text-to-image models, and prove it."""


def main() -> None:
    """The `expunge` command."""
    run(root)


def run(app: typer.Typer) -> None:
    """Run a command line. Our own errors become one line and an exit code."""
    try:
        app()
    except ExpungeError as error:
        if "--json" in sys.argv:
            typer.echo(json.dumps({"error": describe(error)}))
        else:
            typer.secho(f"expunge: {error}", fg="red", err=True)
        raise SystemExit(exit_code(error)) from error


def exit_code(error: ExpungeError) -> int:
    """2 when the caller can correct it, else 3."""
    refused = isinstance(error, ServiceProblem) and error.problem.status in (400, 413, 422)
    return WRONG_INPUT if refused or isinstance(error, UsageError) else FAILED


def describe(error: ExpungeError) -> dict[str, Any]:
    """An error as JSON; a service's problem as it came."""
    if isinstance(error, ServiceProblem):
        return error.problem.model_dump()
    return error.to_dict()


def _command(entry: EntryPoint) -> Any:
    app = typer.Typer(add_completion=False)
    try:
        loaded = entry.load()
        if isinstance(loaded, typer.Typer):
            group = typer.main.get_command(loaded)
            group.name = entry.name
            return group
        app.command(entry.name)(loaded)
    except ImportError as error:
        _explain(app, entry, error)
    return typer.main.get_command(app)


def _explain(app: typer.Typer, entry: EntryPoint, error: ImportError) -> None:
    """A stand-in that says what to install. Each extra is named like the package that needs it."""
    extra = entry.module.partition(".")[0]
    needs = f"needs: pip install 'expunge[{extra}]'"

    @app.command(entry.name, help=needs, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
    def explain() -> None:
        raise UsageError(f"expunge {entry.name} is not installed ({error}).", remedy=f"It {needs}")
