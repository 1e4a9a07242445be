"""Claims: a write succeeds only with the job's current fence."""

import random
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api_schemas.edits import EditRequest, Removal
from api_schemas.jobs import JobError
from service.store import claims, events, jobs, lease_reaper
from service.store.claims import Claim, StoredArtifact
from service.store.database import Database
from service.store.jobs import NewJob
from service.store.orm import Artifact, Attempt, Event, Job, OutboxMessage, Sample
from service.store.samples import NewSample
from tests.fakes.clock import FakeClock

LEASE = timedelta(seconds=30)
REQUEST = EditRequest(model="tiny", removals=[Removal(concept="fox")])
SAMPLE = NewSample("a photo of a fox", 7, b"before", None)
FILE = StoredArtifact("delta.safetensors", "weights", "application/octet-stream", 1, "a" * 64)

Write = Callable[[Session, Claim, FakeClock], object]

WRITES: dict[str, Write] = {
    "extend": lambda session, claim, clock: claims.extend_lease(session, claim, lease=LEASE, now=clock()),
    "report": lambda session, claim, clock: claims.report_progress(
        session, claim, "progress", "x", phase="edit", progress=0.5, now=clock()
    ),
    "samples": lambda session, claim, clock: claims.report_samples(
        session, claim, [SAMPLE], phase="validate", progress=0.5, now=clock()
    ),
    "succeed": lambda session, claim, clock: claims.succeed(session, claim, [FILE], "b" * 64, "passed", now=clock()),
    "fail": lambda session, claim, clock: claims.fail(session, claim, JobError(code="x", message="x"), now=clock()),
    "cancel": lambda session, claim, clock: claims.cancel(session, claim, now=clock()),
    "release": lambda session, claim, clock: claims.release(session, claim, "x", now=clock(), delay=LEASE),
}


def submit_job(database: Database, clock: FakeClock) -> str:
    with database.write() as session:
        return jobs.create(session, NewJob(REQUEST, "key"), now=clock()).id


def claim_job(database: Database, clock: FakeClock, job_id: str, owner: str = "one") -> Claim | None:
    with database.write() as session:
        return claims.claim(session, job_id, owner=owner, lease=LEASE, now=clock())


def job_state(database: Database, job_id: str) -> dict[str, object]:
    """Every write that a stale worker could attempt."""
    with database.read() as session:
        job = session.get_one(Job, job_id)
        row = {column.name: getattr(job, column.name) for column in Job.__table__.columns}
        counts = [
            session.scalar(select(func.count()).select_from(table).where(table.job_id == job_id))
            for table in (Event, Artifact, Attempt, OutboxMessage, Sample)
        ]
        return row | {"counts": counts}


def test_queued_job_is_claimed_once(database: Database, clock: FakeClock) -> None:
    job_id = submit_job(database, clock)
    claim = claim_job(database, clock, job_id)
    assert claim is not None
    assert (claim.fence, claim.attempt, claim.request) == (1, 1, REQUEST)
    assert claim_job(database, clock, job_id, "two") is None


def test_claim_discards_the_outbox_message(database: Database, clock: FakeClock) -> None:
    job_id = submit_job(database, clock)
    claim_job(database, clock, job_id)
    with database.read() as session:
        assert session.get(OutboxMessage, job_id) is None


def test_expired_lease_can_be_claimed(database: Database, clock: FakeClock) -> None:
    job_id = submit_job(database, clock)
    claim_job(database, clock, job_id)
    clock.advance(31)
    second = claim_job(database, clock, job_id, "two")
    assert second is not None
    assert (second.fence, second.attempt) == (2, 2)


def test_owner_that_claims_again_supersedes_its_earlier_attempt(database: Database, clock: FakeClock) -> None:
    job_id = submit_job(database, clock)
    claim_job(database, clock, job_id)
    again = claim_job(database, clock, job_id)
    assert again is not None
    assert again.fence == 2


def test_attempts_are_bounded(database: Database, clock: FakeClock) -> None:
    job_id = submit_job(database, clock)
    for _ in range(jobs.MAX_ATTEMPTS):
        assert claim_job(database, clock, job_id)
        clock.advance(31)
    assert claim_job(database, clock, job_id) is None


@pytest.mark.parametrize("write", WRITES)
def test_stale_claim_cannot_write(database: Database, clock: FakeClock, write: str) -> None:
    job_id = submit_job(database, clock)
    stale = claim_job(database, clock, job_id)
    clock.advance(31)
    fresh = claim_job(database, clock, job_id, "two")
    assert stale
    assert fresh
    before = job_state(database, job_id)
    with database.write() as session:
        assert not WRITES[write](session, stale, clock)
    assert job_state(database, job_id) == before


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("end", ["succeed", "fail", "cancel"])
def test_a_terminal_job_never_changes(database: Database, clock: FakeClock, end: str, write: str) -> None:
    job_id = submit_job(database, clock)
    claim = claim_job(database, clock, job_id)
    assert claim
    with database.write() as session:
        assert WRITES[end](session, claim, clock)
    before = job_state(database, job_id)
    clock.advance(3600)
    with database.write() as session:
        assert not WRITES[write](session, claim, clock)
        jobs.cancel(session, job_id, now=clock())
        lease_reaper.reap(session, now=clock())
    assert claim_job(database, clock, job_id) is None
    assert job_state(database, job_id) == before


def test_database_rejects_changes_of_terminal_jobs(database: Database, clock: FakeClock) -> None:
    job_id = submit_job(database, clock)
    with database.write() as session:
        jobs.cancel(session, job_id, now=clock())
    with pytest.raises(IntegrityError, match="never changes"), database.write() as session:
        session.get_one(Job, job_id).status = "queued"


@pytest.mark.parametrize("seed", range(3))
def test_only_the_latest_claim_can_write(database: Database, clock: FakeClock, seed: int) -> None:
    """Random claims, writes, sweeps and pauses: a write works if and only if its fence is the highest one granted."""
    chance = random.Random(seed)
    job_id = submit_job(database, clock)
    given: list[Claim] = []
    ended = 0
    for _ in range(60):
        clock.advance(chance.choice([1, 20, 40]))
        if claim := claim_job(database, clock, job_id, chance.choice(["one", "two"])):
            given.append(claim)
        with database.write() as session:
            lease_reaper.reap(session, now=clock())
        if given:
            claim, write = chance.choice(given), chance.choice(["extend", "report", "succeed", "release"])
            held = job_state(database, job_id)
            with database.write() as session:
                written = bool(WRITES[write](session, claim, clock))
            assert written == (claim.fence == held["fence"] and held["status"] == "running")
            ended += written and write == "succeed"
    assert ended <= 1
    assert [claim.fence for claim in given] == list(range(1, len(given) + 1))
    with database.read() as session:
        assert [event.seq for event in events.after(session, job_id, 0, 1000)] == list(
            range(1, job_state(database, job_id)["counts"][0] + 1)  # type: ignore[index]
        )


def test_release_requeues_the_job_with_a_delay(database: Database, clock: FakeClock) -> None:
    job_id = submit_job(database, clock)
    claim = claim_job(database, clock, job_id)
    assert claim
    with database.write() as session:
        assert claims.release(session, claim, "crashed", now=clock(), delay=timedelta(seconds=5))
    with database.read() as session:
        assert session.get_one(Job, job_id).status == "queued"
        assert session.get_one(OutboxMessage, job_id).due_at == clock() + timedelta(seconds=5)


def test_release_does_not_undo_a_cancel(database: Database, clock: FakeClock) -> None:
    job_id = submit_job(database, clock)
    claim = claim_job(database, clock, job_id)
    assert claim
    with database.write() as session:
        jobs.cancel(session, job_id, now=clock())
        assert not claims.release(session, claim, "crashed", now=clock(), delay=LEASE)
    with database.read() as session:
        assert session.get_one(Job, job_id).status == "canceling"
