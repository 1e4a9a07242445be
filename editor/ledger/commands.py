"""`expunge ledger` and `expunge revoke`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import BaseModel, Field
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api_schemas.conflicts import Conflict, name_conflicts
from api_schemas.options import DeltaOnly, JsonOutput, LedgerDir, ModelDir, ModelId, Out
from editor.cli import embedded
from editor.ledger.entry import SHOWN_DIGEST, Entry
from editor.review import show_conflicts

if TYPE_CHECKING:
    from editor.ledger.ledger import Ledger
    from editor.ledger.release import Released

NAMED = typer.Argument(metavar="NAME...", help="A concept, a label, or a digest as `expunge ledger` lists it.")


class Listed(BaseModel):
    """A removal of a ledger."""

    digest: str
    kind: str
    concept: str
    destination: str | None = Field(description="Replacement or generic class; null: what the model's profile says.")
    label: str
    since: datetime | None
    until: datetime | None = Field(description="When it was revoked.")


class Listing(BaseModel):
    """What ``expunge ledger --json`` prints."""

    digest: str = Field(description="Of base and active set: equal digests mean byte-identical weights.")
    base: dict[str, str]
    active: list[Listed]
    revoked: list[Listed]
    conflicts: list[Conflict]


def ledger(
    folder: LedgerDir,
    model_dir: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The base model: its tokenizer tells more conflicts.")
    ] = None,
    json_output: JsonOutput = False,
) -> None:
    """List what a ledger holds: active and revoked removals, and how they get in one another's way."""
    from editor.checkpoints import open_checkpoint
    from editor.ledger.conflicts import conflicts_of, labelled
    from editor.ledger.folder import LedgerFolder

    held = LedgerFolder(folder).read()
    tokenizer = open_checkpoint(model_dir).encoders[0].tokenizer() if model_dir else None
    found = listing(held, conflicts_of(held, tokenizer) if tokenizer else name_conflicts(labelled(held)))
    if json_output:
        typer.echo(found.model_dump_json())
    else:
        show_listing(found, Console(highlight=False))


def listing(held: "Ledger", conflicts: list[Conflict]) -> Listing:
    """A ledger for people and machines."""
    return Listing(
        digest=held.digest,
        base=held.base,
        active=[listed(entry) for entry in held.active],
        revoked=[listed(entry) for entry in held.revoked],
        conflicts=conflicts,
    )


def listed(entry: Entry) -> Listed:
    """One of its removals."""
    removal = entry.removal
    return Listed(
        digest=entry.digest,
        kind=removal.kind,
        concept=removal.concept,
        destination=removal.replacement or removal.generic,
        label=entry.label,
        since=entry.since,
        until=entry.until,
    )


def show_listing(found: Listing, console: Console) -> None:
    """For people."""
    for title, entries in (("active", found.active), ("revoked", found.revoked)):
        console.print(f"[bold]{len(entries)} {title}[/]")
        if entries:
            console.print(table(entries))
    show_conflicts(found.conflicts, console)
    console.print(f"digest {found.digest}", soft_wrap=True)


def table(entries: list[Listed]) -> Table:
    """A line for each."""
    found = Table("digest", "kind", "concept", "becomes", "label", "since", "until", box=None, pad_edge=False)
    for entry in entries:
        texts = (entry.digest[:SHOWN_DIGEST], entry.kind, entry.concept, entry.destination or "", entry.label)
        times = (f"{time:%Y-%m-%d %H:%M}" if time else "" for time in (entry.since, entry.until))
        found.add_row(*map(escape, texts), *times)
    return found


def revoke(
    folder: LedgerDir,
    names: Annotated[list[str], NAMED],
    out: Out,
    model: ModelId = "emoji",
    model_dir: ModelDir = None,
    delta_only: DeltaOnly = False,
    json_output: JsonOutput = False,
) -> None:
    """Take removals back: write weights that never knew them, byte for byte, and then the ledger.

    When nothing is left, no file is written but the ledger: the base model is the result.
    """
    from editor.checkpoints import open_checkpoint
    from editor.ledger import release
    from editor.ledger.folder import LedgerFolder

    console = Console(stderr=True, quiet=json_output)
    with console.status("solving for what stays"):
        checkpoint = open_checkpoint(model_dir or embedded(model))
        to = release.Release(model, checkpoint, out, datetime.now(UTC), delta_only)
        done = release.revoke(LedgerFolder(folder), names, to)
    if json_output:
        typer.echo(done.model_dump_json())
        return
    for entry in done.revoked:
        typer.echo(f"revoked  {entry.removal.concept}  {entry.name}")
    show_released(done)


def show_released(done: "Released") -> None:
    """For people."""
    typer.echo(f"ledger   {done.active} active, {done.digest}")
    if not done.files:
        typer.echo("Nothing is removed any more: the base model is the result.")
    if done.lora_note:
        typer.echo(done.lora_note)
    for path in done.files:
        typer.echo(path)
