"""`expunge cases`: list, show, open and decide takedown cases through the service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from api_schemas.cases_requests import CaseRequest, DecisionBody
from api_schemas.cli.common_options import DEFAULT_DATA_DIR, ApiKeyFile, JsonOutput, ServiceFolder, ServiceUrl
from api_schemas.cli.edit import connect
from api_schemas.errors import UsageError
from api_schemas.problems import invalid_fields

if TYPE_CHECKING:
    from api_schemas.cases import Case

cases = typer.Typer(help="List, show, open and decide takedown cases through the service.", no_args_is_help=True)

CaseId = Annotated[str, typer.Argument(help="The id of the case, as `expunge cases list` prints it.")]


@cases.command("list")
def list_cases(
    state: Annotated[list[str] | None, typer.Option(help="Only cases in this state; may be repeated.")] = None,
    basis: Annotated[str | None, typer.Option(help="Only cases on this basis.")] = None,
    url: ServiceUrl = None,
    api_key_file: ApiKeyFile = None,
    data_dir: ServiceFolder = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """List cases, the one that is due first at the top."""
    with connect(url, api_key_file, data_dir) as client:
        found = list(client.cases.list(state=state, basis=basis))
    if json_output:
        for case in found:
            typer.echo(case.model_dump_json())
        return
    table = Table("id", "reference", "state", "bases", "due", "models")
    for case in found:
        due = "-" if case.due_at is None else f"{case.due_at:%Y-%m-%d %H:%M} UTC{', overdue' if case.overdue else ''}"
        models = ", ".join(f"{target.model} {target.state}" for target in case.targets)
        table.add_row(case.id, case.reference, case.state, ", ".join(case.bases), due, models)
    Console().print(table)


@cases.command("show")
def show(
    case_id: CaseId,
    url: ServiceUrl = None,
    api_key_file: ApiKeyFile = None,
    data_dir: ServiceFolder = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Show a case with its targets and deadlines, without its personal data."""
    with connect(url, api_key_file, data_dir) as client:
        _print(client.cases.get(case_id), json_output)


@cases.command("open")
def open_case(
    file: Annotated[
        Path, typer.Argument(help="JSON: the body of `POST /v1/cases`. Personal data stays out of the shell.")
    ],
    url: ServiceUrl = None,
    api_key_file: ApiKeyFile = None,
    data_dir: ServiceFolder = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Open a case from a notice in a file."""
    try:
        request = CaseRequest.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror}.", field="file", remedy="Name a readable file."
        ) from error
    except ValidationError as error:
        first = invalid_fields(error.errors())[0]
        raise UsageError(
            f"{file}: {first.field or 'the body'} {first.message}.", field="file", remedy=first.remedy
        ) from error
    with connect(url, api_key_file, data_dir) as client:
        _print(client.cases.create(request), json_output)


@cases.command("decide")
def decide(
    case_id: CaseId,
    action: Annotated[str, typer.Option(help="erase, withhold, refuse or none.")],
    ground: Annotated[str, typer.Option(help="The legal or contractual ground. It is published.")],
    template: Annotated[str, typer.Option(help="Name of a reason template.")],
    slot: Annotated[
        list[str] | None, typer.Option(metavar="NAME=TEXT", help="A slot of the template; repeat it.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="A model to act on; default: those of the case.")] = None,
    facts_file: Annotated[Path | None, typer.Option(help="File with the facts, which are sealed.")] = None,
    url: ServiceUrl = None,
    api_key_file: ApiKeyFile = None,
    data_dir: ServiceFolder = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Decide a case. The decision can be undone for as long as the server sets."""
    values = {
        "action": action,
        "ground": ground,
        "template": template,
        "slots": _parse_slots(slot or []),
        "models": model or [],
        "facts": facts_file.read_text("utf-8") if facts_file else None,
    }
    try:
        decision = DecisionBody.model_validate(values)
    except ValidationError as error:
        first = invalid_fields(error.errors())[0]
        raise UsageError(f"--{first.field} {first.message}.", field=first.field, remedy=first.remedy) from error
    with connect(url, api_key_file, data_dir) as client:
        _print(client.cases.decide(client.cases.get(case_id), decision), json_output)


def _parse_slots(slots: list[str]) -> dict[str, str]:
    if wrong := [slot for slot in slots if "=" not in slot]:
        raise UsageError(f"'{wrong[0]}' is not NAME=TEXT.", field="slot", remedy="See `expunge cases decide --help`.")
    return dict(slot.split("=", 1) for slot in slots)


def _print(case: "Case", json_output: bool) -> None:
    if json_output:
        typer.echo(case.model_dump_json())
        return
    typer.echo(f"{case.reference} ({case.id}): {case.state}, version {case.version}")
    if case.missing:
        typer.echo(f"missing: {', '.join(case.missing)}")
    for target in case.targets:
        typer.echo(f"{target.model:<24} {target.state:<12} {target.edit or ''}")
    for deadline in case.deadlines:
        typer.echo(f"{deadline.kind:<24} {deadline.status:<12} {deadline.due_at:%Y-%m-%d %H:%M} UTC ({deadline.rule})")
