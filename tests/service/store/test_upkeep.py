"""Garbage collection, fsck, retention and backup."""

import io
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from api_schemas.edits import EditRequest, Removal
from api_schemas.errors import UsageError
from service.store import claims, fsck, gc, jobs, ledgers, retention
from service.store.blobs import Blob, LocalBlobs
from service.store.claims import StoredArtifact
from service.store.database import Database, sqlite_url
from service.store.jobs import NewJob
from service.store.orm import Artifact, Event, Job
from tests.fakes.clock import FakeClock

LEASE = timedelta(seconds=30)
Make = Callable[..., str]


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "blobs")


def put(blobs: LocalBlobs, content: str, at: datetime) -> Blob:
    blob = blobs.put(io.BytesIO(content.encode()))
    os.utime(blobs.path(blob.sha256), (at.timestamp(), at.timestamp()))
    return blob


@pytest.fixture
def finished_job(database: Database, blobs: LocalBlobs, clock: FakeClock) -> Make:
    """Create a job that has published a delta, full weights and a manifest."""

    def finished_job(name: str = "a", step: ledgers.NextRevision | None = None) -> str:
        delta, manifest = put(blobs, f"delta {name}", clock()), put(blobs, f"manifest {name}", clock())
        file = StoredArtifact("delta", "delta", "x", delta.size, delta.sha256)
        files = [
            file,
            replace(file, name="weights", sha256="f" * 64, overlay={"delta_sha256": delta.sha256}),
            StoredArtifact("manifest.json", "manifest", "x", manifest.size, manifest.sha256),
        ]
        with database.write() as session:
            job = jobs.create(
                session, NewJob(EditRequest(model="tiny", removals=[Removal(concept=name)]), "key"), now=clock()
            )
            claim = claims.claim(session, job.id, owner="one", lease=LEASE, now=clock())
            assert claim
            if step:
                ledgers.advance(session, job, step, now=clock())
            assert claims.succeed(session, claim, files, manifest.sha256, "passed", now=clock())
            return job.id

    return finished_job


def stored_names(blobs: LocalBlobs) -> set[str]:
    return {found.sha256 for found in blobs.each()}


def test_only_old_unreferenced_blobs_are_collected(
    database: Database, blobs: LocalBlobs, clock: FakeClock, finished_job: Make, tmp_path: Path
) -> None:
    job_id = finished_job()
    needed, old = stored_names(blobs), put(blobs, "of a job that was killed", clock())
    stray = tmp_path / "blobs" / "incoming" / "stray"
    stray.write_text("half a fi")
    os.utime(stray, (0, 0))
    work = tmp_path / "work"
    for name in (job_id, "edit_gone"):
        (work / name).mkdir(parents=True)
    now = clock.advance(gc.GRACE_PERIOD.total_seconds() + 1)
    young = put(blobs, "of a job that is about to name it", now)
    dry = gc.collect(database, blobs, work, now=now, dry_run=True)
    assert stored_names(blobs) == needed | {old.sha256, young.sha256, ""}
    assert gc.collect(database, blobs, work, now=now) == dry
    assert (dry.blobs, dry.folders) == (2, 2)
    assert stored_names(blobs) == needed | {young.sha256}
    assert list(work.iterdir()) == []


def test_work_folder_of_a_running_job_is_kept(
    database: Database, blobs: LocalBlobs, clock: FakeClock, tmp_path: Path
) -> None:
    with database.write() as session:
        job = jobs.create(
            session, NewJob(EditRequest(model="tiny", removals=[Removal(concept="x")]), "key"), now=clock()
        )
    (tmp_path / "work" / job.id).mkdir(parents=True)
    assert gc.collect(database, blobs, tmp_path / "work", now=clock.advance(10**6)).folders == 0


def test_old_jobs_are_deleted_except_for_ledger_revisions(
    database: Database, blobs: LocalBlobs, clock: FakeClock, finished_job: Make, tmp_path: Path
) -> None:
    plain = finished_job("a")
    first = finished_job("b", ledgers.NextRevision(base_revision=0, digest="b", active=1))
    last = finished_job("c", ledgers.NextRevision(base_revision=1, digest="c", active=2))
    with database.write() as session:
        waiting = jobs.create(
            session, NewJob(EditRequest(model="tiny", removals=[Removal(concept="x")]), "k"), now=clock()
        ).id
    now = clock.advance(3600)
    young = finished_job("d")
    with database.write() as session:
        assert retention.delete_old_jobs(session, before=now) == 1
    with database.read() as session:
        kept = {job_id: len(session.get_one(Job, job_id).artifacts) for job_id in (first, last, waiting, young)}
        assert session.get(Job, plain) is None
    assert kept == {first: 0, last: 3, waiting: 0, young: 3}
    gc.collect(database, blobs, tmp_path / "work", now=clock.advance(gc.GRACE_PERIOD.total_seconds() + 3601))
    assert len(stored_names(blobs)) == 4
    assert fsck.inspect(database, blobs).findings == []


def test_fsck_finds_nothing_in_a_consistent_store(
    database: Database, blobs: LocalBlobs, finished_job: Make, clock: FakeClock
) -> None:
    finished_job("a"), finished_job("b")
    put(blobs, "rubbish", clock())
    hashed: list[int] = []
    found = fsck.inspect(database, blobs, hashed.append)
    assert (found.blobs, found.jobs, found.unreferenced, found.findings) == (5, 2, 1, [])
    assert sum(hashed) == found.size == sum(file.size for file in blobs.each())


Fault = Callable[[Database, LocalBlobs, str], None]


def flip_byte(database: Database, blobs: LocalBlobs, job_id: str) -> None:
    path = blobs.path(delta_of(database, job_id))
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


def remove_blob(database: Database, blobs: LocalBlobs, job_id: str) -> None:
    blobs.path(delta_of(database, job_id)).unlink()


def delete_event(database: Database, blobs: LocalBlobs, job_id: str) -> None:
    with database.write() as session:
        session.execute(delete(Event).where(Event.job_id == job_id, Event.seq == 2))


def delete_manifest(database: Database, blobs: LocalBlobs, job_id: str) -> None:
    with database.write() as session:
        session.execute(
            update(Artifact).where(Artifact.name == "manifest.json").values(sha256=delta_sha256(session, job_id))
        )


def delta_sha256(session: object, job_id: str) -> str:
    return next(row.sha256 for row in session.get_one(Job, job_id).artifacts if row.name == "delta")  # type: ignore[attr-defined]


def delta_of(database: Database, job_id: str) -> str:
    with database.read() as session:
        return delta_sha256(session, job_id)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (flip_byte, "corrupted"),
        (remove_blob, "missing"),
        (delete_event, "history"),
        (delete_manifest, "manifest"),
    ],
)
def test_fsck_finds_corruption(
    database: Database, blobs: LocalBlobs, finished_job: Make, spoil: Fault, code: str
) -> None:
    finished_job("sound")
    spoil(database, blobs, finished_job("spoilt"))
    assert {finding.code for finding in fsck.inspect(database, blobs).findings} == {code}


def test_backup_is_consistent(tmp_path: Path, clock: FakeClock) -> None:
    """The backup is taken during a write, and used in another folder."""
    database = Database(sqlite_url(tmp_path / "expunge.db"))
    database.prepare()
    with database.write() as session:
        jobs.create(session, NewJob(EditRequest(model="tiny", removals=[Removal(concept="x")]), "key"), now=clock())
        database.backup(tmp_path / "copy.db")
        session.flush()
    copy = Database(sqlite_url(tmp_path / "copy.db"))
    copy.check()
    with copy.read() as session:
        assert session.query(Job).count() == 0
    with pytest.raises(UsageError, match="already"):
        database.backup(tmp_path / "copy.db")
