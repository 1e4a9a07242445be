"""A job beside its tenant's ledger: what the editor is handed, and which revision comes of it.

The ledger may move on while a job runs. What was handed over is kept with the revision that it was, so that an attempt that
resumes knows whether its results are still worth anything, and the last transaction whether they may be published.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from api_schemas.edits import EditOptions, Removal
from api_schemas.ledgers import LedgerSnapshot, SnapshotRemoval
from api_schemas.report import AuditReport
from service.store import ledgers
from service.store.claims import Claim
from service.store.database import Database
from service.store.errors import LedgerMoved
from service.store.ledgers import NextRevision
from service.store.orm import LedgerEntry
from worker.job_protocol import JobModule

if TYPE_CHECKING:
    from editor.publishing.export import ArtifactFile

SNAPSHOT_FILE, LEDGER_FOLDER, REPORT_FILE = "handed.json", "ledger", "report.json"


class RevisionSnapshot(BaseModel):
    """What a job started from."""

    revision: int
    ledger: LedgerSnapshot


def prepare_ledger(database: Database, claim: Claim, editor: JobModule, model: Path, workdir: Path) -> Path | None:
    """The folder of the ledger that the job works on; None for a job without one.

    What an earlier attempt left is thrown away when it was made from a ledger that has moved on.
    """
    if not claim.uses_ledger:
        return None
    handed, known = _current_snapshot(database, claim), _stored_snapshot(workdir)
    if known != handed:
        shutil.rmtree(workdir, ignore_errors=True)
        workdir.mkdir(parents=True)
        editor.hand_over(workdir / LEDGER_FOLDER, model, handed.ledger)
        partial = workdir / f".{SNAPSHOT_FILE}"
        partial.write_text(handed.model_dump_json())
        partial.replace(workdir / SNAPSHOT_FILE)
    return workdir / LEDGER_FOLDER


def next_revision(claim: Claim, workdir: Path, files: "tuple[ArtifactFile, ...]") -> NextRevision | None:
    """The revision that a finished job makes, as its report tells; None where there is none, or no weights are published."""
    if not claim.creates_revision:
        return None
    known = _stored_snapshot(workdir)
    report = next(file.path for file in files if file.name == REPORT_FILE)
    told = AuditReport.model_validate_json(report.read_bytes())
    if told.refused:
        return None
    if known is None or told.ledger is None:
        raise LedgerMoved(f"{claim.job_id} has lost the ledger that it started from.")
    return NextRevision(known.revision, told.ledger.digest, told.ledger.active)


def _current_snapshot(database: Database, claim: Claim) -> RevisionSnapshot:
    """The ledger as it stands; for a revocation, without what it takes back."""
    with database.read() as session:
        head = ledgers.head(session, claim.tenant, claim.request.model)
        held = ledgers.active_entries(session, claim.tenant, claim.request.model)
    kept = [_snapshot_removal(entry, claim) for entry in held if entry.job_id != claim.revokes]
    gone = [_snapshot_removal(entry, claim) for entry in held if entry.job_id == claim.revokes]
    return RevisionSnapshot(revision=head.number if head else 0, ledger=LedgerSnapshot(active=kept, revoked=gone))


def _snapshot_removal(entry: LedgerEntry, claim: Claim) -> SnapshotRemoval:
    return SnapshotRemoval(
        removal=Removal.model_validate(entry.removal),
        options=EditOptions.model_validate(entry.options),
        label=entry.job_id,
        since=claim.created_at,
    )


def _stored_snapshot(workdir: Path) -> RevisionSnapshot | None:
    try:
        return RevisionSnapshot.model_validate_json((workdir / SNAPSHOT_FILE).read_bytes())
    except FileNotFoundError:
        return None
