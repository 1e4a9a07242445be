"""Garbage collection of unreferenced blobs, leftovers of crashes, and work folders of ended jobs."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from api_schemas.jobs import TERMINAL_STATUSES
from service.store.blobs import ArtifactStore
from service.store.database import Database
from service.store.orm import Artifact, Job

GRACE_PERIOD = timedelta(hours=24)
"""A job stores its blobs before it publishes them, so recent unreferenced blobs are kept for this long."""


@dataclass(frozen=True)
class CollectedGarbage:
    """What `collect` removed, or would remove in a dry run."""

    blobs: int
    size: int
    folders: int


def referenced_digests(session: Session) -> set[str]:
    """Return the digests of all blobs that published files need."""
    rows = session.execute(select(Artifact.sha256, Artifact.overlay))
    return {overlay["delta_sha256"] if overlay else sha256 for sha256, overlay in rows}


def collect(
    database: Database,
    blobs: ArtifactStore,
    work: Path,
    *,
    now: datetime,
    grace: timedelta = GRACE_PERIOD,
    dry_run: bool = False,
) -> CollectedGarbage:
    """Remove unreferenced blobs older than `grace` and work folders of ended jobs.

    Safe while jobs are running: blobs are listed before references are read, so a blob published in between is seen as
    referenced; a blob stored again in between has a new time, which `ArtifactStore.delete` checks.
    """
    before = now - grace
    expired = [entry for entry in blobs.each() if entry.modified_at < before]
    with database.read() as session:
        referenced = referenced_digests(session)
        folders = list(_finished_workdirs(session, work))
    removed = [
        entry for entry in expired if entry.sha256 not in referenced and (dry_run or blobs.delete(entry, before))
    ]
    for folder in () if dry_run else folders:
        shutil.rmtree(folder, ignore_errors=True)
    return CollectedGarbage(len(removed), sum(entry.size for entry in removed), len(folders))


def _finished_workdirs(session: Session, work: Path) -> Iterator[Path]:
    """Iterate over work folders whose job has ended or does not exist: its worker died before it cleaned up."""
    for folder in work.iterdir() if work.is_dir() else ():
        job = session.get(Job, folder.name)
        if job is None or job.status in TERMINAL_STATUSES:
            yield folder
