"""A ledger as the worker hands it over: the database's rows on one side, a `LedgerFolder` on the other."""

from collections.abc import Iterable
from pathlib import Path

from api_schemas.ledgers import LedgerSnapshot, SnapshotRemoval
from editor.checkpoints import open_checkpoint
from editor.ledger import Entry, Ledger, LedgerFolder
from editor.ledger.store import base_of


def hand_over(folder: Path, model_dir: Path, held: LedgerSnapshot) -> Path:
    """Write the ledger of a base model into a folder, for the phases of a job, and return that folder.

    What two edits asked for alike holds once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    active = {entry.digest: entry for entry in reversed(entries(held.active))}
    gone = {entry.digest: entry for entry in entries(held.revoked) if entry.digest not in active}
    base = base_of(open_checkpoint(model_dir))
    ledger = Ledger(base=base, active=tuple(reversed(active.values())), revoked=tuple(gone.values()))
    LedgerFolder(folder).write(ledger)
    return folder


def entries(removals: Iterable[SnapshotRemoval]) -> list[Entry]:
    """As ledgers have them."""
    return [Entry(removal=one.removal, options=one.options, label=one.label, since=one.since) for one in removals]
