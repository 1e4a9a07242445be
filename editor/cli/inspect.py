"""`expunge inspect` and `expunge diff`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from api_schemas.cli.common_options import JsonOutput
from editor.cli.variant_option import Variant

if TYPE_CHECKING:
    from editor.checkpoints.diff import Comparison, TensorDifference
    from editor.checkpoints.inspect import EncoderFacts, FileFacts, Inspection

DIFFERENT = 1
MAX_DIFFERENCES_SHOWN = 40
"""`--json` lists all."""


def inspect(
    path: Annotated[Path, typer.Argument(help="A safetensors file, or a model's folder.")],
    variant: Variant = None,
    json_output: JsonOutput = False,
) -> None:
    """Describe a model's files and what an edit would read and change, from their headers alone."""
    from editor.checkpoints.inspect import inspect_weights

    found = inspect_weights(path)
    if json_output:
        typer.echo(found.model_dump_json())
    else:
        print_inspection(found, Console())


def print_inspection(found: "Inspection", console: Console) -> None:
    """Print the family, the text encoders, the files and their metadata."""
    from editor.checkpoints.inspect import DELTA_METADATA_KEY

    console.print(f"family    {found.family or 'not known'}", highlight=False)
    for encoder in found.encoders:
        console.print(encoder_lines(encoder), highlight=False, soft_wrap=True)
    if gate := found.text_gate:
        console.print(
            f"text gate {gate.component} reads text through {gate.edited} in {gate.file} "
            f"({' x '.join(map(str, gate.shape))}, {gate.dtype}, {size(gate.edited_bytes)})",
            highlight=False,
            soft_wrap=True,
        )
    for way in found.second_ways:
        console.print(f"beside    {way.sentence}", highlight=False, soft_wrap=True)
    for name in found.unedited_variants:
        console.print(
            f"variant   {name} is another variant, which an edit does not change", highlight=False, soft_wrap=True
        )
    if found.refused:
        console.print(f"refused   {found.refused}", highlight=False, soft_wrap=True, markup=False)
    console.print(files_table(found.files))
    for file in found.files:
        for name, value in file.metadata.items():
            shown = f"{value}" if name == DELTA_METADATA_KEY else f"{value}"[:200]
            console.print(f"{file.name}: {name} = {shown}", highlight=False, soft_wrap=True, markup=False)


def encoder_lines(facts: "EncoderFacts") -> str:
    """Return the geometry of a text encoder and what an edit reads of it, in three lines."""
    whole = sum(facts.read_whole.values())
    return (
        f"encoder   {facts.component}: {facts.layers} layers, {facts.width} wide, {facts.heads} heads, {facts.activation}, "
        f"reads {facts.context} of {facts.vocabulary:,} tokens\n"
        f"          an edit changes {facts.edited} in {facts.file} ({facts.dtype}, {size(facts.edited_bytes)})\n"
        f"          and reads {size(whole)} and {size(facts.read_by_row)} for each token"
    )


def files_table(files: "list[FileFacts]") -> Table:
    """Return a table with one row per file."""
    table = Table("file", "size", "tensors", "dtypes", box=None, pad_edge=False)
    for file in files:
        kinds = ", ".join(f"{dtype} {size(count)}" for dtype, count in file.dtypes.items())
        table.add_row(file.name, size(file.size), f"{file.tensors:,}", kinds)
    return table


def size(count: int) -> str:
    """Format a number of bytes: ``1500`` -> ``1.5 kB``."""
    amount, units = float(count), iter(("B", "kB", "MB", "GB"))
    unit = next(units)
    while amount >= 1000 and unit != "GB":
        amount, unit = amount / 1000, next(units)
    return f"{amount:.3g} {unit}" if amount < 1000 else f"{amount:.0f} {unit}"


def diff(
    first: Annotated[Path, typer.Argument(metavar="A", help="A safetensors file, a model's folder or a delta.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The other one.")],
    json_output: JsonOutput = False,
) -> None:
    """Compare two models tensor by tensor.

    The tensors of a delta are compared with those of its base. Exit code: 0 equal; 1 different; 2 the input is wrong;
    3 something failed.
    """
    from editor.checkpoints.diff import compare_weights

    columns = (TextColumn("comparing"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True, quiet=json_output), transient=True) as bar:
        task = bar.add_task("")
        found = compare_weights(first, second, lambda done, total: bar.update(task, completed=done, total=total))
    if json_output:
        typer.echo(found.model_dump_json())
    else:
        print_comparison(found, Console())
    if found.different:
        raise typer.Exit(DIFFERENT)


def print_comparison(found: "Comparison", console: Console) -> None:
    """Print the tensors that differ."""
    if found.different:
        table = Table("tensor", "status", "kind", "size", "elements", "max", "relative", box=None, pad_edge=False)
        for each in found.different[:MAX_DIFFERENCES_SHOWN]:
            table.add_row(*difference_cells(each))
        console.print(table)
    if len(found.different) > MAX_DIFFERENCES_SHOWN:
        console.print(f"and {len(found.different) - MAX_DIFFERENCES_SHOWN} more")
    console.print(f"{len(found.different)} differ, {found.same} are the same", highlight=False)


def difference_cells(each: "TensorDifference") -> list[str]:
    """Return one row of the table."""
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
