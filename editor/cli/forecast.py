"""`expunge foresee`: the forecast at the command line."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api_schemas.cli.common_options import JoinLedger, JsonOutput, ModelDir, ModelId, inject_options
from api_schemas.cli.options import read_removal_options, read_solve_options
from api_schemas.cli.removal_arguments import SYNTAX, RemovalOptions, build_request
from api_schemas.errors import UsageError
from editor.cli.common import print_concept_hints, print_conflicts, print_warnings
from editor.cli.profile_option import ProfileFile, read_profile_option
from editor.cli.variant_option import Variant
from editor.emoji.locate import embedded_model_folder

if TYPE_CHECKING:
    from editor.jobs.forecast import EncoderForecast, Forecast

MAX_ROWS_SHOWN = 40
"""Rows of each printed table; `--json` has all."""
BAR_WIDTH = 20


@inject_options("options", read_solve_options)
@inject_options("removal_options", read_removal_options)
def foresee(
    remove: Annotated[list[str], typer.Argument(metavar="CONCEPT[=REPLACEMENT]...", help=SYNTAX)],
    removal_options: RemovalOptions,
    options: dict[str, Any],
    model: ModelId = "emoji",
    model_dir: ModelDir = None,
    variant: Variant = None,
    profile: ProfileFile = None,
    corpus: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Prompts to forecast, one per line."),
    ] = None,
    ledger: JoinLedger = None,
    json_output: JsonOutput = False,
) -> None:
    """Forecast how completely concepts will be erased and which prompts will degrade most.

    Generates no images and writes no weights. The other options are those of `expunge erase`.
    """
    model_path = model_dir or embedded_model_folder(model)
    request = build_request(remove, removal_options, model=model, options=options)
    texts = None if corpus is None else read_prompts(corpus)
    from editor.checkpoints import open_checkpoint
    from editor.jobs.forecast import forecast
    from editor.ledger import LedgerFolder
    from editor.prompts import load_profile

    own_profile = read_profile_option(profile, ledger)
    hints = Console(stderr=True, quiet=json_output)
    print_concept_hints(request.removals, own_profile or load_profile(model_path), hints)
    with Console(stderr=True, quiet=json_output).status("solving"):
        folder = LedgerFolder(ledger) if ledger else None
        found = forecast(open_checkpoint(model_path), request, texts, folder, own_profile)
    if json_output:
        typer.echo(found.model_dump_json())
    else:
        print_forecast(found, Console(highlight=False))


def read_prompts(path: Path) -> list[str]:
    """Return the non-empty lines of a text file. Raises `UsageError`: there are none, or it is not UTF-8."""
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text.", field="corpus", remedy="Write one prompt per line.") from error
    if not any(lines):
        raise UsageError(f"{path} contains no prompts.", field="corpus", remedy="Write one prompt per line.")
    return [line for line in lines if line]


def print_forecast(found: "Forecast", console: Console) -> None:
    """Print the forecast of every text encoder and site, and the conflicts."""
    for encoder in found.encoders:
        layers = ", ".join(map(str, encoder.layers))
        place = f"layer {layers}" if layers else encoder.site.replace("_", " ")
        console.print(f"[bold]{encoder.component}[/], {place}, preservation {encoder.preservation:g}")
        print_encoder(encoder, console)
    if found.ledger:
        console.print(f"including the ledger: {found.ledger.active} active removals")
    print_conflicts(found.conflicts, console)


def print_encoder(encoder: "EncoderForecast", console: Console) -> None:
    """Print two tables: concepts, then prompts."""
    console.print("\nHow completely each concept is erased; a high leak means that retained prompts hold it back:")
    rows = [(1 - one.left, f"{one.leak:.2f}", one.concept) for one in encoder.removals]
    console.print(bar_table(("erased", "leak", "concept"), rows))
    if encoder.prompts:
        console.print("\nChance that a prompt loses its content, and how far the encoder's final states move:")
        changes = [(one.drop or 0.0, f"{one.moved or 0.0:.2f}", one.prompt) for one in encoder.prompts]
        console.print(bar_table(("drop", "moved", "prompt"), changes))
    if encoder.too_long:
        console.print(f"skipped, too long for this encoder: {encoder.too_long}")
    print_warnings(encoder.warnings, console)
    console.print()


def bar_table(heads: tuple[str, str, str], rows: Sequence[tuple[float, str, str]]) -> Table:
    """Return a table of shares, each as a bar and a percentage, with another figure and a text."""
    table = Table("", *heads, box=None, pad_edge=False)
    for share, figure, text in rows[:MAX_ROWS_SHOWN]:
        table.add_row(bar(share), f"{share:.0%}", figure, escape(text))
    if len(rows) > MAX_ROWS_SHOWN:
        table.add_row("", "", "", f"and {len(rows) - MAX_ROWS_SHOWN} more")
    return table


def bar(share: float) -> str:
    """Draw a bar: ``0.25`` fills a quarter of it."""
    full = round(BAR_WIDTH * min(max(share, 0.0), 1.0))
    return "█" * full + "░" * (BAR_WIDTH - full)
