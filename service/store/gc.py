"""What nothing refers to any more: blobs, what crashes left behind, working folders of jobs that are over."""

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
"""A job stores its blobs before it names them. What was put more recently than this may be about to be named."""


@dataclass(frozen=True)
class CollectedGarbage:
    """What `collect` removed, or would."""

    blobs: int
    size: int
    folders: int


def referenced_digests(session: Session) -> set[str]:
    """The digests of all blobs that a job's files are made of."""
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
    """Remove what is older than `grace` and referred to by nothing.

    Safe beside running jobs: the blobs are listed first and the references read after that, so what is named in between is
    seen; what is put again in between has a new time, and `ArtifactStore.delete` looks at it once more.
    """
    before = now - grace
    old = [stored for stored in blobs.each() if stored.modified_at < before]
    with database.read() as session:
        needed = referenced_digests(session)
        folders = list(_finished_workdirs(session, work))
    removed = [stored for stored in old if stored.sha256 not in needed and (dry_run or blobs.delete(stored, before))]
    for folder in () if dry_run else folders:
        shutil.rmtree(folder, ignore_errors=True)
    return CollectedGarbage(len(removed), sum(stored.size for stored in removed), len(folders))


def _finished_workdirs(session: Session, work: Path) -> Iterator[Path]:
    """Working folders whose job is over or gone: its worker died between the end and the tidying up."""
    for folder in work.iterdir() if work.is_dir() else ():
        job = session.get(Job, folder.name)
        if job is None or job.status in TERMINAL_STATUSES:
            yield folder
