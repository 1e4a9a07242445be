"""`expunge erase`: the whole removal on this machine, without a service."""

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from api_schemas.cli import NOT_PASSED
from api_schemas.edits import EditRequest
from api_schemas.errors import UsageError
from api_schemas.options import DeltaOnly, JsonOutput, Out, request_from_options, takes
from api_schemas.report import AuditReport

CACHE = Path("~/.cache/expunge")


@takes("request", request_from_options)
def erase(
    request: EditRequest,
    out: Out,
    delta_only: DeltaOnly = False,
    model_dir: Annotated[
        Path | None, typer.Option(help="A model in diffusers' folder layout, in place of --model.")
    ] = None,
    cache_dir: Annotated[Path, typer.Option(envvar="EXPUNGE_CACHE", help="Images of unedited models.")] = CACHE,
    json_output: JsonOutput = False,
) -> None:
    """Remove concepts on this machine, and write the edited weights and the report to a folder.

    Exit code: 0 the verdict is passed, or no validation was asked for; 1 it is failed or inconclusive; 2 the input
    is wrong; 3 something failed.
    """
    from editor import jobs  # brings torch; `expunge --help` shall not

    console = Console(stderr=True, quiet=json_output)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory() as workdir, Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=len(jobs.PHASES))

        def show(phase: str, done: float, message: str) -> None:
            bar.update(task, description=message, completed=jobs.PHASES.index(phase) + done)

        context = jobs.JobContext(
            request=request,
            model_dir=model_dir or embedded(request.model),
            workdir=Path(workdir),
            cache_dir=cache_dir.expanduser(),
            progress=show,
            job_id="offline",
            now=datetime.now(UTC),
            delta_only=delta_only,
        )
        for phase in jobs.PHASES:
            jobs.run_phase(phase, context)
        report, paths = jobs.published(context), jobs.deliver(context, out)
    show_result(report, paths, json_output)
    if report.verdict not in (None, "passed"):
        raise typer.Exit(NOT_PASSED)


def embedded(model: str) -> Path:
    """The folder of a model that ships with the package."""
    from editor.emoji import WEIGHTS

    if model != "emoji":
        raise UsageError(
            f"There is no model {model!r} in this package.", field="model", remedy="Name its folder with --model-dir."
        )
    return WEIGHTS


def show_result(report: AuditReport, paths: list[Path], json_output: bool) -> None:
    """The verdict and the files, for people or for machines."""
    if json_output:
        files = [str(path) for path in paths]
        typer.echo(json.dumps({"verdict": report.verdict, "files": files, "lora_note": report.lora_note}))
        return
    if report.verdict:
        typer.echo(f"verdict  {report.verdict}")
    if report.lora_note:
        typer.echo(report.lora_note)
    for path in paths:
        typer.echo(path)
