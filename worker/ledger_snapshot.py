"""The ledger that a job starts from, and the revision it results in.

The ledger may move while a job runs. The snapshot is stored with its revision, so that a resumed attempt knows whether its
earlier results are valid, and the final transaction whether they may be published.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    """The ledger that a job started from, with its revision number."""

    revision: int
    ledger: LedgerSnapshot


def prepare_ledger(database: Database, claim: Claim, editor: JobModule, model: Path, workdir: Path) -> Path | None:
    """Write the ledger that the job starts from and return its folder; None if the job uses no ledger.

    Results of an earlier attempt are deleted if the ledger has moved since.
    """
    if not claim.uses_ledger:
        return None
    snapshot, stored = _current_snapshot(database, claim), _stored_snapshot(workdir)
    if stored != snapshot:
        shutil.rmtree(workdir, ignore_errors=True)
        workdir.mkdir(parents=True)
        editor.write_snapshot(workdir / LEDGER_FOLDER, model, snapshot.ledger)
        partial = workdir / f".{SNAPSHOT_FILE}"
        partial.write_text(snapshot.model_dump_json())
        partial.replace(workdir / SNAPSHOT_FILE)
    return workdir / LEDGER_FOLDER


def next_revision(
    claim: Claim, workdir: Path, files: "tuple[ArtifactFile, ...]", parameters: Sequence[dict[str, Any]]
) -> NextRevision | None:
    """Return the revision that a finished job adds, read from its report. None if it adds none or publishes no weights.

    Args:
        parameters: what the editor found for each removal of the job.
    """
    if not claim.creates_revision:
        return None
    stored = _stored_snapshot(workdir)
    report = next(file.path for file in files if file.name == REPORT_FILE)
    audit_report = AuditReport.model_validate_json(report.read_bytes())
    if audit_report.refused:
        return None
    if stored is None or audit_report.ledger is None:
        raise LedgerMoved(f"The ledger snapshot of {claim.job_id} is missing.")
    return NextRevision(stored.revision, audit_report.ledger.digest, audit_report.ledger.active, parameters)


def _current_snapshot(database: Database, claim: Claim) -> RevisionSnapshot:
    """Read the current ledger. For a revocation, the revoked removals are listed separately."""
    with database.read() as session:
        head = ledgers.head(session, claim.tenant, claim.request.model)
        entries = ledgers.active_entries(session, claim.tenant, claim.request.model)
        withheld = ledgers.jobs_withholding_names(session, claim.tenant, claim.request.model)
    removals = [(entry.job_id, _snapshot_removal(entry, claim, entry.job_id in withheld)) for entry in entries]
    active = [removal for job_id, removal in removals if job_id != claim.revokes]
    revoked = [removal for job_id, removal in removals if job_id == claim.revokes]
    return RevisionSnapshot(revision=head.number if head else 0, ledger=LedgerSnapshot(active=active, revoked=revoked))


def _snapshot_removal(entry: LedgerEntry, claim: Claim, withhold_name: bool) -> SnapshotRemoval:
    return SnapshotRemoval(
        removal=Removal.model_validate(entry.removal),
        options=EditOptions.model_validate(entry.options),
        parameters=entry.parameters or {},
        label=entry.job_id,
        since=claim.created_at,
        withhold_name=withhold_name,
    )


def _stored_snapshot(workdir: Path) -> RevisionSnapshot | None:
    try:
        return RevisionSnapshot.model_validate_json((workdir / SNAPSHOT_FILE).read_bytes())
    except FileNotFoundError:
        return None
