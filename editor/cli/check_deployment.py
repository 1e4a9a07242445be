"""`expunge check-deployment`: check whether a pipeline carries a published removal."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from api_schemas.cli.common_options import JsonOutput
from api_schemas.cli.main import NOT_PASSED
from api_schemas.deployment import ComponentFound, Deployment, EditPresence
from api_schemas.errors import UsageError
from api_schemas.report import AuditReport
from editor.publishing.filenames import PRIVATE_REPORT, REPORT

Pipeline = Annotated[
    Path,
    typer.Argument(metavar="PIPELINE", exists=True, help="A diffusers folder or one .safetensors file."),
]
ReportPath = Annotated[
    Path,
    typer.Option(metavar="PATH", exists=True, help="The folder of the report, or report.json itself."),
]
Base = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        exists=True,
        help="The base model; gives the scale of a merge if the edit was published without a LoRA.",
    ),
]
COLOURS: dict[EditPresence, str] = {
    "carries": "green",
    "altered": "yellow",
    "partly": "yellow",
    "base": "red",
    "other": "red",
}
HEADLINES: dict[EditPresence, str] = {
    "carries": "carries the removal",
    "altered": "carries the removal, but other files than the report lists",
    "partly": "carries the removal in part",
    "base": "is the base model, without the removal",
    "other": "does not carry this removal",
}
FILE_LINES = {
    "differs": "[red]differs[/]  {}: not the file of the report; it was changed, or saved again",
    "unknown": "[yellow]unknown[/]  {}: the report does not list it",
}


def check_deployment(
    pipeline: Pipeline, report: ReportPath, base: Base = None, json_output: JsonOutput = False
) -> None:
    """Check whether a pipeline carries a published removal.

    Compares tensor digests, the states of canary prompts and, if no weights were cast, the digests of all files. Exit code:
    0 it does; 1 it does not, only in part, or with files that differ from those of the report.
    """
    from editor.publishing.deployment.check import check_deployment as checked
    from editor.publishing.deployment.update_scale import read_updates

    folder = report if report.is_dir() else report.parent
    found = checked(pipeline, read_report(report), read_updates(folder, base))
    if json_output:
        typer.echo(found.model_dump_json())
    else:
        print_deployment(pipeline, found, Console(highlight=False, soft_wrap=True))
    if found.carried != "carries":
        raise typer.Exit(NOT_PASSED)


def read_report(path: Path) -> AuditReport:
    """Read the report at a path; in a folder, the private one if present, which has the prompts. Raises UsageError."""
    from editor.publishing.redaction import PrivateReport

    private = path if path.name == PRIVATE_REPORT else path / PRIVATE_REPORT
    file = private if private.is_file() else path if path.is_file() else path / REPORT
    try:
        if file == private:
            return PrivateReport.model_validate_json(file.read_bytes()).report
        return AuditReport.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise UsageError(
            f"{file} is not a report.", field="report", remedy="Name the folder of an edit, or its report.json."
        ) from error


def print_deployment(pipeline: Path, found: Deployment, console: Console) -> None:
    """Print what was found in each component, and the conclusion."""
    for one in found.components:
        console.print(f"[{COLOURS[one.carried]}]{one.carried:8}[/] {one.component}: {one.detail}")
        console.print(f"         {evidence_line(one)}")
    for file in found.files:
        if file.identity != "listed":
            console.print(FILE_LINES[file.identity].format(escape(file.name)))
    console.print(f"[bold {COLOURS[found.carried]}]{escape(str(pipeline))} {HEADLINES[found.carried]}[/]")


def evidence_line(one: ComponentFound) -> str:
    """Return the tensor identities and the progress of the canaries as a line."""
    tensors = ", ".join(f"{tensor.name} is {tensor.identity}" for tensor in one.tensors)
    if one.progress is None:
        return f"{tensors}; no canaries were tested"
    return f"{tensors}; {one.canaries} canaries moved {one.progress:.0%} of the expected distance"
