"""The `expunge` command. Its sub-commands are entry points, imported when they run.

    [project.entry-points."expunge.commands"]
    edit = "api_schemas.cli.edit:edit"

Each names a function with Typer annotations, or a `typer.Typer`, which becomes a group. So `expunge edit` starts without
torch, and a command whose packages are not installed names the extra that brings them. Exit codes of all commands: 0 done,
1 the verdict is not `passed`, 2 the input is wrong, 3 something failed.
"""

import json
import sys
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from api_schemas.cli.commands import PLUGINS, SUMMARIES, Summary
from api_schemas.errors import FAILED, WRONG_INPUT, ExpungeError, UsageError

GROUP = "expunge.commands"
NOT_PASSED = 1


class LazyGroup(TyperGroup):
    """Lists commands from `SUMMARIES`, and imports a command only to run it or to show its own help."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.entries = {entry.name: entry for entry in entry_points(group=GROUP)}
        names = [*(name for name in SUMMARIES if name in self.entries), *sorted(self.entries.keys() - SUMMARIES.keys())]
        self.commands = {name: placeholder(self.entries[name]) for name in names}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the arguments name, and import it."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, load_command(self.entries[name]) if name else None, rest


def placeholder(entry: EntryPoint) -> TyperCommand:
    """Return a command for `expunge --help` alone."""
    panel, text = SUMMARIES.get(entry.name) or Summary(
        PLUGINS, f"Provided by {entry.dist.name if entry.dist else entry.value}."
    )
    return TyperCommand(entry.name, help=text, rich_help_panel=panel)


root = typer.Typer(
    name="expunge",
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def print_version(wanted: bool) -> None:
    """Print the version and exit."""
    if wanted:
        try:
            typer.echo(f"expunge {version('expunge')}")
        except PackageNotFoundError:  # a checkout that is not installed
            typer.echo("expunge, not installed")
        raise typer.Exit


@root.callback()
def expunge(
    show_version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Remove concepts from text-to-image models, and prove what was removed and what was kept."""


def main() -> None:
    """The `expunge` command."""
    run(root)


def run(app: typer.Typer) -> None:
    """Run a command line, and turn our own errors into one line and an exit code."""
    try:
        app()
    except ExpungeError as error:
        if "--json" in sys.argv:
            typer.echo(json.dumps({"error": error_record(error)}))
        else:
            typer.secho(f"expunge: {error}", fg="red", err=True)
        raise SystemExit(exit_code(error)) from error


def exit_code(error: ExpungeError) -> int:
    """Return 2 if the caller can correct the error, else 3."""
    from api_schemas.problems import ServiceProblem

    rejected = isinstance(error, ServiceProblem) and error.problem.status in (400, 413, 422)
    return WRONG_INPUT if rejected or error.is_wrong_input else FAILED


def error_record(error: ExpungeError) -> dict[str, Any]:
    """Return an error as JSON; a problem of the service unchanged."""
    from api_schemas.problems import ServiceProblem

    return error.problem.model_dump() if isinstance(error, ServiceProblem) else error.to_dict()


def load_command(entry: EntryPoint) -> Any:
    """Import a command. If a package is missing, return one that says what to install."""
    app = typer.Typer(add_completion=False)
    try:
        loaded = entry.load()
        if isinstance(loaded, typer.Typer):
            group = typer.main.get_command(loaded)
            group.name = entry.name
            return group
        app.command(entry.name)(loaded)
    except ImportError as error:
        add_explanation(app, entry, error)
    return typer.main.get_command(app)


def add_explanation(app: typer.Typer, entry: EntryPoint, error: ImportError) -> None:
    """Add a command that names the missing extra. Each extra is named like the package that needs it."""
    extra = entry.module.partition(".")[0]
    needs = f"needs: pip install 'expunge[{extra}]'"

    @app.command(entry.name, help=needs, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
    def explain() -> None:
        raise UsageError(f"expunge {entry.name} is not installed ({error}).", remedy=f"It {needs}")
