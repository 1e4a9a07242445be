"""`expunge edit`: submit a removal, watch it, download what it published."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from api_schemas.cli.common_options import (
    DEFAULT_DATA_DIR,
    ApiKeyFile,
    DeltaOnly,
    JsonOutput,
    Out,
    ServiceFolder,
    ServiceUrl,
    inject_options,
)
from api_schemas.cli.main import NOT_PASSED
from api_schemas.cli.options import read_request
from api_schemas.edits import EditRequest
from api_schemas.errors import UsageError

if TYPE_CHECKING:
    from api_schemas.client import CalibrationJob, Client, EditJob
    from api_schemas.events import Event
    from api_schemas.jobs import Edit

WatchedJob = TypeVar("WatchedJob", "EditJob", "CalibrationJob")
COLOURS = {"passed": "green", "failed": "red", "inconclusive": "yellow"}
FULL_WEIGHTS = ("weights", "config")


@inject_options("request", read_request)
def edit(
    request: EditRequest,
    out: Out,
    delta_only: DeltaOnly = False,
    url: ServiceUrl = None,
    api_key_file: ApiKeyFile = None,
    data_dir: ServiceFolder = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Remove concepts through the service, and download the edited weights and the report.

    Exit code: 0 the verdict is passed, or validation was off; 1 failed or inconclusive; 2 the input is wrong;
    3 the service or the job failed.
    """
    console = Console(stderr=True, quiet=json_output)
    with connect(url, api_key_file, data_dir) as client:
        done = watch(client.edits.create(request), console)
        paths = done.download(out, without=FULL_WEIGHTS if delta_only else ())
        note = done.report().lora_note
    print_result(done, paths, note, json_output)
    if request.validation.enabled and done.verdict != "passed":
        raise typer.Exit(NOT_PASSED)


def connect(url: str | None, api_key_file: Path | None, data_dir: Path) -> "Client":
    """Connect to the service that the options name, else to the one on the data folder. Raises `UsageError`."""
    from api_schemas.client import DEFAULT_URL, Client

    found = read_announcement(data_dir.expanduser())
    key = os.environ.get("EXPUNGE_API_KEY", "")
    key_file = api_key_file or (Path(found["api_key_file"]) if "api_key_file" in found else None)
    if not key and key_file is not None:
        key = read_key(key_file)
    return Client(url or found.get("url", DEFAULT_URL), key)


def read_announcement(data_dir: Path) -> dict[str, str]:
    """Return what a running `expunge up` wrote into its folder; empty if none runs there."""
    try:
        found: dict[str, str] = json.loads((data_dir / "service.json").read_text())
    except FileNotFoundError:
        return {}
    return found


def read_key(path: Path) -> str:
    """Read an API key from a file. Raises `UsageError`."""
    try:
        return path.read_text().strip()
    except OSError as error:
        raise UsageError(
            f"cannot read the API key from {path}: {error.strerror}.",
            remedy="Pass --api-key-file with the path that `expunge up` prints.",
        ) from error


def watch(submitted: WatchedJob, console: Console) -> WatchedJob:
    """Wait for a job, with a progress bar that follows its events."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(submitted.id, total=1.0)

        def show_progress(event: "Event") -> None:
            bar.update(task, description=event.message, completed=event.data.get("progress"))
            if "estimate" in event.data:
                bar.console.print(event.message, highlight=False)

        return submitted.wait(show_progress)


def print_result(done: "Edit", paths: Sequence[Path], note: str | None, json_output: bool) -> None:
    """Print the verdict and the files."""
    if json_output:
        found = {"edit": done.model_dump(mode="json"), "verdict": done.verdict, "files": [str(path) for path in paths]}
        typer.echo(json.dumps(found | {"lora_note": note}))
        return
    console = Console(highlight=False)
    if done.verdict:
        console.print(f"verdict  [bold {COLOURS[done.verdict]}]{done.verdict}[/]")
    if note:
        console.print(note, markup=False, soft_wrap=True)
    for path in paths:
        console.print(str(path), markup=False, soft_wrap=True)
