"""Sample images: only the newest are stored, and the transaction that ends a job deletes them."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from sqlalchemy import select

from api_schemas.edits import EditRequest, Removal
from api_schemas.jobs import JobError
from api_schemas.samples import MAX_SAMPLES
from service.store import claims, events, jobs, lease_reaper, samples
from service.store.claims import Claim
from service.store.database import Database
from service.store.jobs import NewJob
from service.store.orm import Sample
from service.store.samples import KEPT_SAMPLES, NewSample
from tests.fakes.clock import FakeClock

REQUEST = EditRequest(model="tiny", removals=[Removal(concept="fox")])
LEASE = timedelta(seconds=30)
End = Callable[[Database, Claim, FakeClock], object]


@pytest.fixture
def claim(database: Database, clock: FakeClock) -> Claim:
    with database.write() as session:
        job_id = jobs.create(session, NewJob(REQUEST, "key"), now=clock()).id
        claim = claims.claim(session, job_id, owner="w", lease=LEASE, now=clock())
    assert claim
    return claim


def report(database: Database, claim: Claim, clock: FakeClock, *seeds: int) -> None:
    new = [NewSample("a photo of a fox", seed, b"before %d" % seed, b"after" if seed % 2 else None) for seed in seeds]
    with database.write() as session:
        assert claims.report_samples(session, claim, new, phase="validate", progress=0.5, now=clock()) == "running"


def stored(database: Database, job_id: str) -> Sequence[tuple[int, int]]:
    """Return number and seed of each sample."""
    with database.read() as session:
        return [(row.number, row.seed) for row in samples.newest_first(session, job_id)]


def test_newest_samples_are_stored_under_numbers_of_their_own(
    database: Database, claim: Claim, clock: FakeClock
) -> None:
    report(database, claim, clock, 10, 11)
    report(database, claim, clock, 12, 13, 2**52)
    assert stored(database, claim.job_id) == [(5, 2**52), (4, 13), (3, 12), (2, 11)]
    with database.read() as session:
        newest = samples.newest_first(session, claim.job_id)[1]
        assert (newest.prompt, newest.before, newest.after) == ("a photo of a fox", b"before 13", b"after")
        announced = [event.data for event in events.after(session, claim.job_id, 0, 100) if "samples" in event.data]
    assert announced == [{"phase": "validate", "progress": 0.5, "samples": n} for n in (2, 3)]


def test_samples_that_were_listed_before_are_read_once_more(database: Database, claim: Claim, clock: FakeClock) -> None:
    for first in range(0, 5 * MAX_SAMPLES, MAX_SAMPLES):
        report(database, claim, clock, *range(first, first + MAX_SAMPLES))
    with database.read() as session:
        numbers = session.scalars(select(Sample.number).where(Sample.job_id == claim.job_id)).all()
    assert sorted(numbers) == list(range(3 * MAX_SAMPLES + 1, 5 * MAX_SAMPLES + 1))
    assert len(numbers) == KEPT_SAMPLES


def end_canceled(database: Database, claim: Claim, clock: FakeClock) -> None:
    with database.write() as session:
        jobs.cancel(session, claim.job_id, now=clock())
        claims.cancel(session, claim, now=clock())


def end_requeued_and_canceled(database: Database, claim: Claim, clock: FakeClock) -> None:
    with database.write() as session:
        claims.release(session, claim, "again", now=clock(), delay=timedelta())
    assert stored(database, claim.job_id), "the next attempt replaces them"
    with database.write() as session:
        jobs.cancel(session, claim.job_id, now=clock())


def end_by_reaper(database: Database, claim: Claim, clock: FakeClock) -> None:
    with database.write() as session:
        jobs.cancel(session, claim.job_id, now=clock())
    clock.advance(31)
    with database.write() as session:
        lease_reaper.reap(session, now=clock())


def end_expired(database: Database, claim: Claim, clock: FakeClock) -> None:
    with database.write() as session:
        claims.release(session, claim, "again", now=clock(), delay=timedelta())
    clock.advance(8 * 24 * 3600)
    with database.write() as session:
        lease_reaper.reap(session, now=clock())


def end_succeeded(database: Database, claim: Claim, clock: FakeClock) -> None:
    with database.write() as session:
        claims.succeed(session, claim, [], None, "passed", now=clock())


def end_failed(database: Database, claim: Claim, clock: FakeClock) -> None:
    with database.write() as session:
        claims.fail(session, claim, JobError(code="x", message="x"), now=clock())


@pytest.mark.parametrize(
    "end", [end_succeeded, end_failed, end_canceled, end_requeued_and_canceled, end_by_reaper, end_expired]
)
def test_end_of_the_job_deletes_its_samples(database: Database, claim: Claim, clock: FakeClock, end: End) -> None:
    report(database, claim, clock, 1)
    with database.write() as session:
        other_id = jobs.create(session, NewJob(REQUEST, "key"), now=clock()).id
        other = claims.claim(session, other_id, owner="v", lease=timedelta(days=30), now=clock())
    assert other
    report(database, other, clock, 2)
    end(database, claim, clock)
    with database.read() as session:
        job = jobs.get(session, claim.job_id)
    assert job
    assert job.finished_at
    assert stored(database, claim.job_id) == []
    if end is not end_expired:  # by then the other job's lease is longer than any that is granted
        assert stored(database, other_id) == [(1, 2)]
