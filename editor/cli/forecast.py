"""`expunge foresee`: the forecast at the command line."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api_schemas.cli.options import (
    JoinLedger,
    JsonOutput,
    ModelDir,
    ModelId,
    solve_from_options,
    takes,
    wishes_from_options,
)
from api_schemas.cli.removal_arguments import SYNTAX, Wishes, build_request
from api_schemas.errors import UsageError
from editor.cli.common import show_conflicts
from editor.emoji.locate import embedded_model_folder

if TYPE_CHECKING:
    from editor.jobs.forecast import EncoderForecast, Forecast

SHOWN = 40
"""Lines of each table for people; `--json` has all."""
BAR = 20


@takes("options", solve_from_options)
@takes("wishes", wishes_from_options)
def foresee(
    remove: Annotated[list[str], typer.Argument(metavar="CONCEPT[=REPLACEMENT]...", help=SYNTAX)],
    wishes: Wishes,
    options: dict[str, Any],
    model: ModelId = "emoji",
    model_dir: ModelDir = None,
    corpus: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Prompts to look at, one a line."),
    ] = None,
    ledger: JoinLedger = None,
    json_output: JsonOutput = False,
) -> None:
    """Say how far each concept will go and which prompts will be hurt most, before anything is applied.

    Nothing is drawn and nothing published. The other options are those of `expunge erase`.
    """
    request = build_request(remove, wishes, model=model, options=options)
    texts = None if corpus is None else prompts_in(corpus)
    from editor.checkpoints import open_checkpoint
    from editor.jobs.forecast import forecast
    from editor.ledger import LedgerFolder

    with Console(stderr=True, quiet=json_output).status("solving"):
        folder = LedgerFolder(ledger) if ledger else None
        found = forecast(open_checkpoint(model_dir or embedded_model_folder(model)), request, texts, folder)
    if json_output:
        typer.echo(found.model_dump_json())
    else:
        show(found, Console(highlight=False))


def prompts_in(path: Path) -> list[str]:
    """The lines that hold something. Raises `UsageError`: there are none, or it is no text."""
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8.", field="corpus", remedy="Write one prompt a line.") from error
    if not any(lines):
        raise UsageError(f"{path} holds no prompts.", field="corpus", remedy="Write one prompt a line.")
    return [line for line in lines if line]


def show(found: "Forecast", console: Console) -> None:
    """For people."""
    for encoder in found.encoders:
        layers = ", ".join(map(str, encoder.layers))
        console.print(f"[bold]{encoder.component}[/], layer {layers}, preservation {encoder.preservation:g}")
        show_encoder(encoder, console)
    if found.ledger:
        console.print(f"with all that the ledger would hold: {found.ledger.active} active")
    show_conflicts(found.conflicts, console)


def show_encoder(encoder: "EncoderForecast", console: Console) -> None:
    """Concepts, then prompts."""
    console.print("\nHow far each concept goes; a high leak means that what is kept holds it back:")
    rows = [(1 - one.left, f"{one.leak:.2f}", one.concept) for one in encoder.removals]
    console.print(bars(("gone", "leak", "concept"), rows))
    if encoder.prompts:
        console.print("\nChance that a prompt loses what it asks for, and how far the encoder's last states move:")
        changes = [(one.drop or 0.0, f"{one.moved or 0.0:.2f}", one.prompt) for one in encoder.prompts]
        console.print(bars(("drop", "moved", "prompt"), changes))
    if encoder.too_long:
        console.print(f"too long for this encoder, and left out: {encoder.too_long}")
    console.print()


def bars(heads: tuple[str, str, str], rows: Sequence[tuple[float, str, str]]) -> Table:
    """A share as a bar and as a figure, another figure, and what they are of."""
    table = Table("", *heads, box=None, pad_edge=False)
    for share, figure, text in rows[:SHOWN]:
        table.add_row(bar(share), f"{share:.0%}", figure, escape(text))
    if len(rows) > SHOWN:
        table.add_row("", "", "", f"and {len(rows) - SHOWN} more")
    return table


def bar(share: float) -> str:
    """``0.25`` -> a quarter of the width."""
    full = round(BAR * min(max(share, 0.0), 1.0))
    return "█" * full + "░" * (BAR - full)
