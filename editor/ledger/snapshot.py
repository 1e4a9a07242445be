"""Write the ledger that the worker read from the database to a folder."""

from collections.abc import Iterable
from pathlib import Path

from api_schemas.ledgers import LedgerSnapshot, SnapshotRemoval
from editor.checkpoints import Checkpoint, open_checkpoint
from editor.ledger import Ledger, LedgerEntry, LedgerFolder
from editor.ledger.entry import merge_entries
from editor.ledger.store import base_digests, identify_base
from editor.sites.registry import name_sites


def write_snapshot(folder: Path, model_dir: Path, held: LedgerSnapshot) -> Path:
    """Write the ledger of a base model to a folder, for the phases of a job, and return the folder.

    A removal that several edits requested is written once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = open_checkpoint(model_dir)
    active = merge_entries(ledger_entries(held.active, checkpoint))
    remaining = {entry.requested_digest for entry in active.values()}
    revoked = merge_entries(
        entry for entry in ledger_entries(held.revoked, checkpoint) if entry.requested_digest not in remaining
    )
    base = base_digests(checkpoint, denoiser=False)
    ledger = Ledger(base=base, active=tuple(active.values()), revoked=tuple(revoked.values()))
    LedgerFolder(folder).write(identify_base(ledger, checkpoint))
    return folder


def ledger_entries(removals: Iterable[SnapshotRemoval], checkpoint: Checkpoint) -> list[LedgerEntry]:
    """Convert removals to ledger entries, with the sites named that they stand for in the model."""
    return [LedgerEntry(**dict(one) | {"options": name_sites(one.options, checkpoint)}) for one in removals]
