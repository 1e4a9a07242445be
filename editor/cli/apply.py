"""`expunge apply`: write the edited files from a base model and a delta."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from api_schemas.cli.common_options import JsonOutput

Base = Annotated[
    Path, typer.Argument(metavar="BASE", exists=True, help="The base model: a folder or one .safetensors file.")
]
Delta = Annotated[
    Path, typer.Argument(metavar="DELTA", exists=True, dir_okay=False, help="The delta, such as delta.safetensors.")
]
Target = Annotated[
    Path,
    typer.Option("--out", metavar="PATH", help="The edited folder, or for a single-file base the edited file."),
]
VerifyFile = Annotated[
    bool, typer.Option("--verify-file", help="Hash the whole base files, not only the tensors that are replaced.")
]


def apply(
    base: Base, delta: Delta, out: Target, verify_file: VerifyFile = False, json_output: JsonOutput = False
) -> None:
    """Write the edited files from a base model and a delta.

    The result is byte-identical on every machine. Nothing is written unless the base tensors are those that were edited.
    """
    from editor.publishing.apply import plan_patches, write_patches

    plan = plan_patches(base, delta, verify_file=verify_file)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True, quiet=json_output), transient=True) as bar:
        task = bar.add_task("writing", total=sum(patch.size for patch in plan))
        files = write_patches(plan, base, delta, out, lambda count: bar.advance(task, count))
    if json_output:
        typer.echo(json.dumps({"files": [str(file) for file in files]}))
        return
    for file in files:
        typer.echo(file)
