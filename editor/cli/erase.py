"""`expunge erase`: the whole removal on this machine, without a service."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from api_schemas.cli.common_options import (
    Components,
    DeltaOnly,
    JoinLedger,
    JsonOutput,
    ModelDir,
    Out,
    SignWith,
    inject_options,
)
from api_schemas.cli.main import NOT_PASSED
from api_schemas.cli.options import read_request
from api_schemas.edits import EditRequest
from api_schemas.errors import UsageError
from api_schemas.plans import describe_estimate
from editor.cli.common import print_concept_hints, print_conflicts, print_warnings
from editor.cli.device_options import read_device
from editor.cli.profile_option import ProfileFile, read_profile_option
from editor.cli.variant_option import Variant
from editor.emoji.locate import embedded_model_folder
from editor.generation.device import DeviceSettings

if TYPE_CHECKING:
    from api_schemas.refinement import RefinementRecord
    from editor.jobs.local_erasure import Erasure

CACHE = Path("~/.cache/expunge")


@inject_options("device", read_device)
@inject_options("request", read_request)
def erase(
    request: EditRequest,
    device: DeviceSettings,
    out: Out,
    delta_only: DeltaOnly = False,
    model_dir: ModelDir = None,
    components: Components = None,
    variant: Variant = None,
    profile: ProfileFile = None,
    ledger: JoinLedger = None,
    label: Annotated[
        str, typer.Option(metavar="TEXT", help="The request's name in the ledger, such as a ticket number.")
    ] = "",
    cache_dir: Annotated[
        Path, typer.Option(envvar="EXPUNGE_CACHE", help="Cache of images of unedited models.")
    ] = CACHE,
    sign_with: SignWith = None,
    json_output: JsonOutput = False,
) -> None:
    """Remove concepts on this machine, and write the edited weights and the report to a folder.

    With --ledger the weights carry every active removal of the ledger, and this request is recorded in it once they are
    written.

    Exit code: 0 the verdict is passed, or validation was off; 1 failed or inconclusive; 2 the input is wrong;
    3 something failed.
    """
    model_path = model_dir or embedded_model_folder(request.model)
    if label and not ledger:
        raise UsageError("--label needs a ledger.", field="label", remedy="Name its folder with --ledger.")
    from editor.checkpoints import open_checkpoint
    from editor.jobs import PHASES  # imports torch, which usage errors must not wait for
    from editor.jobs.local_erasure import erase as run_erasure
    from editor.prompts import load_profile
    from editor.publishing.limitations import variant_limits

    console = Console(stderr=True, quiet=json_output)
    own_profile = read_profile_option(profile, ledger)
    print_concept_hints(request.removals, own_profile or load_profile(model_path), console)
    print_warnings(variant_limits(open_checkpoint(model_path)), console)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=len(PHASES))

        def show_progress(phase: str, fraction: float, message: str) -> None:
            bar.update(task, description=message, completed=PHASES.index(phase) + fraction)

        erasure = run_erasure(
            request,
            model_path,
            out,
            cache=cache_dir,
            ledger=ledger,
            label=label,
            signing_keys=sign_with,
            delta_only=delta_only,
            components=components,
            profile=own_profile,
            device=device,
            progress=show_progress,
            report_estimate=lambda estimate: console.print(
                f"validation  {describe_estimate(estimate)}", highlight=False
            ),
        )
    print_result(erasure, json_output)
    if erasure.report.verdict not in (None, "passed"):
        raise typer.Exit(NOT_PASSED)


def print_result(erasure: "Erasure", json_output: bool) -> None:
    """Print the verdict, the ledger and the files."""
    report, paths, warnings = erasure.report, erasure.files, erasure.warnings
    solve_warnings = list(dict.fromkeys(warning for solve in report.solves for warning in solve.warnings))
    if json_output:
        result: dict[str, Any] = {
            "verdict": report.verdict,
            "files": [str(path) for path in paths],
            "lora_note": report.lora_note,
            "warnings": [one.model_dump() for one in warnings],
            "solve_warnings": solve_warnings,
        }
        if erasure.estimate:
            result["estimate"] = erasure.estimate.model_dump()
        if report.ledger:
            result |= {"ledger": report.ledger.model_dump()}
        typer.echo(json.dumps(result))
        return
    if report.verdict:
        typer.echo(f"verdict  {report.verdict}")
    if report.validation and report.validation.refinement:
        print_rounds(report.validation.refinement)
    if report.ledger:
        typer.echo(f"ledger   {report.ledger.active} active, {report.ledger.digest}")
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    print_conflicts(warnings, console)
    print_warnings(solve_warnings, console)
    if report.lora_note:
        typer.echo(report.lora_note)
    for path in paths:
        typer.echo(path)


def print_rounds(record: "RefinementRecord") -> None:
    """Print what each round of the closed loop changed, and what it was measured to leave."""
    for one in record.rounds:
        changes = "; ".join(one.changes) or "as solved first"
        published = ", published" if one.number == record.published else ""
        typer.echo(f"round {one.number}  {one.excess:.3f} above the margins{published}: {changes}")
