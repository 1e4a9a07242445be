"""`expunge fleet plan|apply|status`: one removal for many registered models, through the service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from api_schemas.cli.common_options import (
    DEFAULT_DATA_DIR,
    ApiKeyFile,
    JsonOutput,
    ServiceFolder,
    ServiceUrl,
    inject_options,
)
from api_schemas.cli.edit import connect
from api_schemas.cli.main import NOT_PASSED
from api_schemas.cli.options import read_request
from api_schemas.edits import EditRequest
from api_schemas.errors import UsageError

if TYPE_CHECKING:
    from api_schemas.fleets import Fleet, FleetRequest, FleetTarget

fleet = typer.Typer(help="Remove concepts from many registered models.", no_args_is_help=True, add_completion=False)

Labels = Annotated[list[str], typer.Option("--label", help="Select models with this label; may be repeated.")]
Family = Annotated[str | None, typer.Option(help="Select models of this family.")]
Encoder = Annotated[str | None, typer.Option(help="Select models with a text encoder of this digest.")]
Targets = Annotated[list[str], typer.Option("--target", help="Select this model; may be repeated.")]
Statement = Annotated[Path | None, typer.Option(help="Write the signed statement to this file.")]


@fleet.command("plan")
@inject_options("request", read_request)
def plan(
    request: EditRequest,
    label: Labels = [],  # noqa: B006
    family: Family = None,
    encoder: Encoder = None,
    target: Targets = [],  # noqa: B006
    url: ServiceUrl = None,
    api_key_file: ApiKeyFile = None,
    data_dir: ServiceFolder = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Show which models a selection has, and how many edits have to be solved. Nothing is queued."""
    with connect(url, api_key_file, data_dir) as client:
        found = client.fleets.plan(build_request(request, label, family, encoder, target))
    if json_output:
        typer.echo(found.model_dump_json())
    else:
        print_targets(found.targets)
        typer.echo(f"{found.counts.total} models, {found.counts.groups} edits to solve")


@fleet.command("apply")
@inject_options("request", read_request)
def apply(
    request: EditRequest,
    label: Labels = [],  # noqa: B006
    family: Family = None,
    encoder: Encoder = None,
    target: Targets = [],  # noqa: B006
    follow: Annotated[
        bool, typer.Option("--follow", help="Also edit models that are registered later, before they are served.")
    ] = False,
    statement: Statement = None,
    wait: Annotated[bool, typer.Option(help="Wait until every model is edited.")] = True,
    url: ServiceUrl = None,
    api_key_file: ApiKeyFile = None,
    data_dir: ServiceFolder = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Remove concepts from every selected model, and write the signed statement.

    Exit code: 0 the removals are in force for every model; 1 for some they are not.
    """
    with connect(url, api_key_file, data_dir) as client:
        done = client.fleets.create(build_request(request, label, family, encoder, target, follow))
        if wait:
            with Console(stderr=True, quiet=json_output).status(done.id) as status:
                done = client.fleets.wait(done.id, lambda now: status.update(describe(now)))
        if statement and done.statement:
            statement.write_bytes(client.fleets.statement(done.id))
        targets = list(client.fleets.targets(done.id))
    print_fleet(done, targets, json_output)
    if done.status not in ("running", "in_force"):
        raise typer.Exit(NOT_PASSED)


@fleet.command("status")
def status(
    fleet_id: Annotated[str, typer.Argument(help="The id that `expunge fleet apply` printed.")],
    statement: Statement = None,
    url: ServiceUrl = None,
    api_key_file: ApiKeyFile = None,
    data_dir: ServiceFolder = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Show what became of each model of a fleet."""
    with connect(url, api_key_file, data_dir) as client:
        found = client.fleets.get(fleet_id)
        if statement:
            statement.write_bytes(client.fleets.statement(fleet_id))
        targets = list(client.fleets.targets(fleet_id))
    print_fleet(found, targets, json_output)


def build_request(
    request: EditRequest,
    labels: list[str],
    family: str | None,
    encoder: str | None,
    models: list[str],
    follow: bool = False,
) -> "FleetRequest":
    """Return the request of a fleet. Raises `UsageError` if nothing is selected, or named models are to be followed."""
    from pydantic import ValidationError

    from api_schemas.fleets import FleetRequest

    selector = {"labels": labels, "family": family, "encoder": encoder, "models": models}
    try:
        return FleetRequest.from_edit(request, selector, follow=follow)
    except ValidationError as error:
        raise UsageError(
            f"The selection is not valid: {error.errors()[0]['msg']}.",
            field="label",
            remedy="Pass --label, --family, --encoder or --target.",
        ) from error


def describe(now: "Fleet") -> str:
    """Return the progress of a fleet in one line."""
    return f"{now.id}: {now.counts.in_force} of {now.counts.total} in force, {now.counts.pending} pending"


def print_fleet(done: "Fleet", targets: list["FleetTarget"], json_output: bool) -> None:
    """Print a fleet with its targets."""
    if json_output:
        typer.echo(done.model_dump_json())
        return
    print_targets(targets)
    typer.echo(f"{describe(done)}; {done.status}")


def print_targets(targets: list["FleetTarget"]) -> None:
    """Print targets as a table."""
    table = Table("model", "group", "state", "weights", "revision", "edit", box=None, pad_edge=False)
    for one in targets:
        revision = "" if one.revision is None else str(one.revision)
        state = f"{one.state}, withheld" if one.withheld else one.state
        weights = [one.application or "", *(["not validated"] if one.revision and not one.verdict else [])]
        table.add_row(one.model, one.group[:8], state, ", ".join(weights), revision, one.edit or "")
    Console(highlight=False).print(table)
