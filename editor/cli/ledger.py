"""`expunge ledger`, `expunge revoke` and `expunge rebase`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import BaseModel, Field
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api_schemas.cli.common_options import DeltaOnly, JsonOutput, LedgerDir, ModelDir, ModelId, Out, SignWith
from api_schemas.conflicts import Conflict, find_name_conflicts
from editor.cli.common import print_conflicts
from editor.emoji.locate import embedded_model_folder

if TYPE_CHECKING:
    from editor.jobs.ledger_rebase import Rebased
    from editor.jobs.ledger_release import Released
    from editor.ledger.entry import LedgerEntry
    from editor.ledger.ledger import Ledger

MAX_REMOVALS_SHOWN = 40
"""The least complete ones are printed; `--json` lists all."""
DIGEST_CHARACTERS = 12
"""Length of a printed digest."""
NAMES_ARGUMENT = typer.Argument(metavar="NAME...", help="A concept, a label, or a digest as `expunge ledger` lists it.")


class ListedRemoval(BaseModel):
    """A removal in a ledger."""

    digest: str
    kind: str
    concept: str
    destination: str | None = Field(
        description="Replacement or generic class; else the first automatic replacement, of which the first that no removal "
        "covers is used; null: the parent class in the model's profile, or the null concept."
    )
    label: str
    since: datetime | None
    until: datetime | None = Field(description="When it was revoked.")


class LedgerListing(BaseModel):
    """The output of ``expunge ledger --json``."""

    digest: str = Field(description="Digest of base and active removals: equal digests mean byte-identical weights.")
    base: dict[str, str]
    active: list[ListedRemoval]
    revoked: list[ListedRemoval]
    conflicts: list[Conflict]


def ledger(
    folder: LedgerDir,
    model_dir: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The base model: its tokenizer finds more conflicts."),
    ] = None,
    json_output: JsonOutput = False,
) -> None:
    """List the active and revoked removals of a ledger, and the conflicts between them."""
    from editor.ledger.conflict_checks import find_ledger_conflicts, labelled_removals
    from editor.ledger.store import LedgerFolder
    from editor.prompts import open_prompt_builder

    held, builder = LedgerFolder(folder).read(), open_prompt_builder(model_dir) if model_dir else None
    conflicts = (
        find_ledger_conflicts(held, builder.tokenizer, builder.profile)
        if builder
        else find_name_conflicts(labelled_removals(held))
    )
    found = ledger_listing(held, conflicts)
    if json_output:
        typer.echo(found.model_dump_json())
    else:
        print_listing(found, Console(highlight=False))


def ledger_listing(held: "Ledger", conflicts: list[Conflict]) -> LedgerListing:
    """Return the content of a ledger and its conflicts."""
    return LedgerListing(
        digest=held.digest,
        base=held.base,
        active=[list_removal(entry) for entry in held.active],
        revoked=[list_removal(entry) for entry in held.revoked],
        conflicts=conflicts,
    )


def list_removal(entry: "LedgerEntry") -> ListedRemoval:
    """Return one removal of a ledger."""
    removal = entry.removal
    return ListedRemoval(
        digest=entry.digest,
        kind=removal.kind,
        concept=removal.concept,
        destination=removal.named_replacement or removal.generic or next(iter(entry.parameters.candidates), None),
        label=entry.label,
        since=entry.since,
        until=entry.until,
    )


def print_listing(found: LedgerListing, console: Console) -> None:
    """Print the active and the revoked removals, and the conflicts."""
    for title, entries in (("active", found.active), ("revoked", found.revoked)):
        console.print(f"[bold]{len(entries)} {title}[/]")
        if entries:
            console.print(removal_table(entries))
    print_conflicts(found.conflicts, console)
    console.print(f"digest {found.digest}", soft_wrap=True)


def removal_table(entries: list[ListedRemoval]) -> Table:
    """Return a table with one row per removal."""
    found = Table("digest", "kind", "concept", "becomes", "label", "since", "until", box=None, pad_edge=False)
    for entry in entries:
        texts = (entry.digest[:DIGEST_CHARACTERS], entry.kind, entry.concept, entry.destination or "", entry.label)
        times = (f"{time:%Y-%m-%d %H:%M}" if time else "" for time in (entry.since, entry.until))
        found.add_row(*map(escape, texts), *times)
    return found


def revoke(
    folder: LedgerDir,
    names: Annotated[list[str], NAMES_ARGUMENT],
    out: Out,
    model: ModelId = "emoji",
    model_dir: ModelDir = None,
    delta_only: DeltaOnly = False,
    sign_with: SignWith = None,
    json_output: JsonOutput = False,
) -> None:
    """Undo removals: write weights solved without them, byte for byte, and update the ledger.

    When no removal is left, only the ledger is written: the base model is the result.
    """
    from editor.checkpoints import open_checkpoint
    from editor.jobs import ledger_release
    from editor.ledger.store import LedgerFolder
    from editor.publishing.attestation.keys import open_signer

    console = Console(stderr=True, quiet=json_output)
    with console.status("solving without them"):
        checkpoint, now = open_checkpoint(model_dir or embedded_model_folder(model)), datetime.now(UTC)
        to = ledger_release.Release(model, checkpoint, out, now, delta_only, open_signer(sign_with, now))
        done = ledger_release.revoke(LedgerFolder(folder), names, to)
    if json_output:
        typer.echo(done.model_dump_json())
        return
    for entry in done.revoked:
        typer.echo(f"revoked  {entry.removal.concept}  {entry.name}")
    print_released(done)


def print_released(done: "Released") -> None:
    """Print the state of the ledger and the published files."""
    typer.echo(f"ledger   {done.active} active, {done.digest}")
    if not done.files:
        typer.echo("No removal is active: the base model is the result.")
    if done.lora_note:
        typer.echo(done.lora_note)
    for path in done.files:
        typer.echo(path)


def rebase(
    folder: LedgerDir,
    onto: Annotated[
        Path, typer.Option("--onto", metavar="PATH", exists=True, help="The checkpoint to carry the ledger to.")
    ],
    out: Out,
    model: ModelId = "emoji",
    model_dir: ModelDir = None,
    delta_only: DeltaOnly = False,
    sign_with: SignWith = None,
    json_output: JsonOutput = False,
) -> None:
    """Carry a ledger over to another checkpoint.

    The old ledger is not changed; the new one is written to OUT/ledger. If the text encoders are equal, the delta is reused.
    Otherwise every removal is solved again from the new weights; --model-dir names the old base model, to compare the
    encoders and how completely each removal was erased in it.
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
    typer.echo("reused   the delta of the old base model" if done.reused else "solved   again from the new weights")
    print_changes(done, Console(highlight=False))
    print_released(done)


def print_changes(done: "Rebased", console: Console) -> None:
    """Print which tensors differ and how much of each removal is left."""
    for encoder in done.encoders:
        if encoder.only_in:
            console.print(f"{encoder.component} is only in {escape(encoder.only_in)}")
        for each in encoder.differences:
            amount = "" if each.relative is None else f"  relative {each.relative:.3g}"
            console.print(f"{encoder.component}  {each.status:<9}{escape(each.tensor)}{amount}", soft_wrap=True)
    if done.removals:
        table = Table("concept", "encoder", "left before", "left after", box=None, pad_edge=False)
        for one in done.removals[:MAX_REMOVALS_SHOWN]:
            figures = ("" if share is None else f"{share:.3f}" for share in (one.before, one.after))
            table.add_row(escape(one.concept), one.component, *figures)
        console.print(table)
    if len(done.removals) > MAX_REMOVALS_SHOWN:
        console.print(f"and {len(done.removals) - MAX_REMOVALS_SHOWN} more that are erased further")
