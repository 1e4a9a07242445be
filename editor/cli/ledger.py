"""`expunge ledger`, `expunge revoke` and `expunge rebase`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import BaseModel, Field
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api_schemas.cli.options import DeltaOnly, JsonOutput, LedgerDir, ModelDir, ModelId, Out, SignWith
from api_schemas.conflicts import Conflict, find_name_conflicts
from editor.checkpoints.tokenizers import open_tokenizer
from editor.cli.common import show_conflicts
from editor.emoji.locate import embedded_model_folder
from editor.ledger.entry import SHOWN_DIGEST, Entry

if TYPE_CHECKING:
    from editor.jobs.ledger_rebase import Rebased
    from editor.jobs.ledger_release import Released
    from editor.ledger.ledger import Ledger

SHOWN = 40
"""Removals listed for people, those that go least far; `--json` lists all."""
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
    from editor.ledger.conflict_checks import conflicts_of, labelled
    from editor.ledger.store import LedgerFolder

    held = LedgerFolder(folder).read()
    tokenizer = open_tokenizer(open_checkpoint(model_dir).encoders[0]) if model_dir else None
    found = listing(held, conflicts_of(held, tokenizer) if tokenizer else find_name_conflicts(labelled(held)))
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
    sign_with: SignWith = None,
    json_output: JsonOutput = False,
) -> None:
    """Take removals back: write weights that never knew them, byte for byte, and then the ledger.

    When nothing is left, no file is written but the ledger: the base model is the result.
    """
    from editor.checkpoints import open_checkpoint
    from editor.jobs import ledger_release
    from editor.ledger.store import LedgerFolder
    from editor.publishing.attestation.keys import open_signer

    console = Console(stderr=True, quiet=json_output)
    with console.status("solving for what stays"):
        checkpoint, now = open_checkpoint(model_dir or embedded_model_folder(model)), datetime.now(UTC)
        to = ledger_release.Release(model, checkpoint, out, now, delta_only, open_signer(sign_with, now))
        done = ledger_release.revoke(LedgerFolder(folder), names, to)
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


def rebase(
    folder: LedgerDir,
    onto: Annotated[Path, typer.Option("--onto", metavar="PATH", exists=True, help="The checkpoint to carry it to.")],
    out: Out,
    model: ModelId = "emoji",
    model_dir: ModelDir = None,
    delta_only: DeltaOnly = False,
    sign_with: SignWith = None,
    json_output: JsonOutput = False,
) -> None:
    """Carry a ledger over to another checkpoint; the old one stays as it is, the new one lies in OUT/ledger.

    Where the text encoders are the same, nothing is solved: the delta fits as it is. Elsewhere all is solved again from the
    new originals; --model-dir names the old base model, to tell what differs and how far each removal went there.
    """
    from editor.checkpoints import open_checkpoint
    from editor.jobs.ledger_rebase import Rebase
    from editor.jobs.ledger_release import Release
    from editor.ledger.store import LedgerFolder
    from editor.publishing.attestation.keys import open_signer

    console = Console(stderr=True, quiet=json_output)
    with console.status("comparing and solving"):
        now = datetime.now(UTC)
        to = Release(onto.name, open_checkpoint(onto), out, now, delta_only, open_signer(sign_with, now))
        original = open_checkpoint(model_dir or embedded_model_folder(model))
        done = Rebase(LedgerFolder(folder), to).run(original)
    if json_output:
        typer.echo(done.model_dump_json())
        return
    typer.echo("reused   the delta fits as it is" if done.reused else "solved   again, from the new originals")
    show_changes(done, Console(highlight=False))
    show_released(done)


def show_changes(done: "Rebased", console: Console) -> None:
    """What differs, and how far each removal goes."""
    for encoder in done.encoders:
        if encoder.only_in:
            console.print(f"{encoder.component} is only in {escape(encoder.only_in)}")
        for each in encoder.differences:
            amount = "" if each.relative is None else f"  relative {each.relative:.3g}"
            console.print(f"{encoder.component}  {each.status:<9}{escape(each.tensor)}{amount}", soft_wrap=True)
    if done.removals:
        table = Table("concept", "encoder", "left before", "left after", box=None, pad_edge=False)
        for one in done.removals[:SHOWN]:
            figures = ("" if share is None else f"{share:.3f}" for share in (one.before, one.after))
            table.add_row(escape(one.concept), one.component, *figures)
        console.print(table)
    if len(done.removals) > SHOWN:
        console.print(f"and {len(done.removals) - SHOWN} more, which go further")
