"""`expunge inspect` and `expunge diff`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from api_schemas.cli.options import JsonOutput
from editor.checkpoints import inspect as inspection
from editor.checkpoints.diff import Comparison, TensorDifference, compare
from editor.checkpoints.inspect import OWN_ENTRY, EncoderFacts, FileFacts, Inspection

DIFFERENT = 1
SHOWN = 40
"""Differences listed for people; `--json` lists all."""


def inspect(
    path: Annotated[Path, typer.Argument(help="A safetensors file, or a model's folder.")],
    json_output: JsonOutput = False,
) -> None:
    """Say what is in a model's files and what an edit would read and change, from their headers alone."""
    found = inspection.inspect(path)
    if json_output:
        typer.echo(found.model_dump_json())
    else:
        show_inspection(found, Console())


def show_inspection(found: Inspection, console: Console) -> None:
    """For people."""
    console.print(f"family    {found.family or 'not known'}", highlight=False)
    for encoder in found.encoders:
        console.print(encoder_lines(encoder), highlight=False, soft_wrap=True)
    for way in found.second_ways:
        console.print(f"beside    {way.sentence}", highlight=False, soft_wrap=True)
    if found.refused:
        console.print(f"refused   {found.refused}", highlight=False, soft_wrap=True, markup=False)
    console.print(files_table(found.files))
    for file in found.files:
        for name, value in file.metadata.items():
            shown = f"{value}" if name == OWN_ENTRY else f"{value}"[:200]
            console.print(f"{file.name}: {name} = {shown}", highlight=False, soft_wrap=True, markup=False)


def encoder_lines(facts: EncoderFacts) -> str:
    """An encoder in a few lines."""
    whole = sum(facts.read_whole.values())
    return (
        f"encoder   {facts.component}: {facts.layers} layers, {facts.width} wide, {facts.heads} heads, {facts.activation}, "
        f"reads {facts.context} of {facts.vocabulary:,} tokens\n"
        f"          an edit changes {facts.edited} in {facts.file} ({facts.dtype}, {size(facts.edited_bytes)})\n"
        f"          and reads {size(whole)} and {size(facts.read_by_row)} for each token"
    )


def files_table(files: list[FileFacts]) -> Table:
    """The files."""
    table = Table("file", "size", "tensors", "dtypes", box=None, pad_edge=False)
    for file in files:
        kinds = ", ".join(f"{dtype} {size(count)}" for dtype, count in file.dtypes.items())
        table.add_row(file.name, size(file.size), f"{file.tensors:,}", kinds)
    return table


def size(count: int) -> str:
    """Bytes for people."""
    amount, units = float(count), iter(("B", "kB", "MB", "GB"))
    unit = next(units)
    while amount >= 1000 and unit != "GB":
        amount, unit = amount / 1000, next(units)
    return f"{amount:.3g} {unit}" if amount < 1000 else f"{amount:.0f} {unit}"


def diff(
    first: Annotated[Path, typer.Argument(metavar="A", help="A safetensors file, a model's folder or a delta.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Likewise.")],
    json_output: JsonOutput = False,
) -> None:
    """Say which tensors differ, and by how much. Of a delta, its own tensors are compared with the base's.

    Exit code: 0 they are the same; 1 they differ; 2 the input is wrong; 3 something failed.
    """
    columns = (TextColumn("comparing"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True, quiet=json_output), transient=True) as bar:
        task = bar.add_task("")
        found = compare(first, second, lambda done, total: bar.update(task, completed=done, total=total))
    if json_output:
        typer.echo(found.model_dump_json())
    else:
        show_comparison(found, Console())
    if found.different:
        raise typer.Exit(DIFFERENT)


def show_comparison(found: Comparison, console: Console) -> None:
    """For people."""
    if found.different:
        table = Table("tensor", "status", "kind", "size", "elements", "max", "relative", box=None, pad_edge=False)
        for each in found.different[:SHOWN]:
            table.add_row(*cells(each))
        console.print(table)
    if len(found.different) > SHOWN:
        console.print(f"and {len(found.different) - SHOWN} more")
    console.print(f"{len(found.different)} differ, {found.same} are the same", highlight=False)


def cells(each: TensorDifference) -> list[str]:
    """A row of the table."""
    name = f"{each.file}:{each.tensor}" if each.file else each.tensor
    figures = [each.max_abs, each.relative]
    return [
        name,
        each.status,
        f"{each.dtype} {each.shape}",
        size(each.bytes),
        "" if each.changed is None else f"{each.changed:,}",
        *("" if figure is None else f"{figure:.3g}" for figure in figures),
    ]
