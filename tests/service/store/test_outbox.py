"""The outbox, the dispatcher and the lease reaper."""

from collections.abc import Callable
from datetime import timedelta
from typing import get_args

import pytest
from kombu.exceptions import OperationalError
from sqlalchemy import select

from api_schemas.edits import EditRequest, Priority, Removal
from service.dispatcher import Dispatcher
from service.store import claims, events, idempotency, jobs, lease_reaper
from service.store.database import Database
from service.store.idempotency import Reply, Scope
from service.store.jobs import NewJob
from service.store.orm import IdempotencyKey, Job, OutboxMessage
from tests.fakes.clock import FakeClock

LEASE = timedelta(seconds=30)


def submit(database: Database, clock: FakeClock) -> str:
    request = EditRequest(model="tiny", removals=[Removal(concept="fox")])
    with database.write() as session:
        return jobs.create(session, NewJob(request, "key"), now=clock()).id


def claim(database: Database, clock: FakeClock, job_id: str) -> claims.Claim:
    with database.write() as session:
        won = claims.claim(session, job_id, owner="one", lease=LEASE, now=clock())
    assert won
    return won


def recorded_sends(sent: list[str]) -> Callable[[str, Priority], None]:
    return lambda job_id, priority: sent.append(job_id)


def reap(database: Database, clock: FakeClock) -> None:
    with database.write() as session:
        lease_reaper.reap(session, now=clock())


def status(database: Database, job_id: str) -> str:
    with database.read() as session:
        return session.get_one(Job, job_id).status


def test_message_is_resent_with_increasing_delays(database: Database, clock: FakeClock) -> None:
    job_id, sent = submit(database, clock), list[str]()
    dispatcher = Dispatcher(database, recorded_sends(sent), clock)
    for _ in range(3):
        dispatcher.run_once()
    assert sent == [job_id]
    for pause in (30, 60, 120):
        clock.advance(pause)
        dispatcher.run_once()
        dispatcher.run_once()
    assert sent == [job_id] * 4


def test_message_is_sent_with_its_priority(database: Database, clock: FakeClock) -> None:
    """Includes jobs without a priority."""
    sent, asked = dict[str, Priority](), get_args(Priority)
    with database.write() as session:
        for priority in asked:
            request = EditRequest(model="tiny", removals=[Removal(concept="fox")], priority=priority)
            jobs.create(session, NewJob(request, "key"), now=clock())
        old = jobs.create(session, NewJob(request, "key"), now=clock())
        old.request = {name: value for name, value in old.request.items() if name != "priority"}
        session.merge(old)
    Dispatcher(database, sent.__setitem__, clock).run_once()
    assert sent.pop(old.id) == "normal"
    assert sorted(sent.values()) == sorted(asked)


def test_no_message_is_sent_for_a_claimed_job(database: Database, clock: FakeClock) -> None:
    job_id, sent = submit(database, clock), list[str]()
    claim(database, clock, job_id)
    Dispatcher(database, recorded_sends(sent), clock).run_once()
    assert sent == []


def test_unavailable_broker_loses_no_message(database: Database, clock: FakeClock) -> None:
    job_id, sent = submit(database, clock), list[str]()

    def unavailable(job_id: str, priority: Priority) -> None:
        raise OperationalError

    with pytest.raises(OperationalError):
        Dispatcher(database, unavailable, clock).run_once()
    Dispatcher(database, recorded_sends(sent), clock).run_once()
    assert sent == [job_id]


def test_crash_after_sending_sends_the_message_again(database: Database, clock: FakeClock) -> None:
    job_id, sent = submit(database, clock), list[str]()

    def crash(job_id: str, priority: Priority) -> None:
        sent.append(job_id)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Dispatcher(database, crash, clock).run_once()
    Dispatcher(database, recorded_sends(sent), clock).run_once()
    assert sent == [job_id] * 2


def test_expired_lease_requeues_the_job(database: Database, clock: FakeClock) -> None:
    job_id, sent = submit(database, clock), list[str]()
    claim(database, clock, job_id)
    clock.advance(31)
    Dispatcher(database, recorded_sends(sent), clock).run_once()
    assert status(database, job_id) == "queued"
    assert sent == [job_id]


def test_valid_lease_is_kept(database: Database, clock: FakeClock) -> None:
    job_id = submit(database, clock)
    claim(database, clock, job_id)
    clock.advance(29)
    reap(database, clock)
    assert status(database, job_id) == "running"


def test_expired_lease_of_the_last_attempt_fails_the_job(database: Database, clock: FakeClock) -> None:
    job_id = submit(database, clock)
    for _ in range(jobs.MAX_ATTEMPTS):
        claim(database, clock, job_id)
        clock.advance(31)
    reap(database, clock)
    with database.read() as session:
        job = session.get_one(Job, job_id)
        assert job.status == "failed"
        assert job.error
        assert job.error["code"] == "attempts_exhausted"


def test_canceling_job_of_a_dead_worker_is_canceled(database: Database, clock: FakeClock) -> None:
    job_id = submit(database, clock)
    claim(database, clock, job_id)
    with database.write() as session:
        jobs.cancel(session, job_id, now=clock())
    clock.advance(31)
    reap(database, clock)
    assert status(database, job_id) == "canceled"


def test_job_that_is_not_started_expires(database: Database, clock: FakeClock) -> None:
    job_id = submit(database, clock)
    clock.advance(jobs.MAX_QUEUE_TIME.total_seconds() + 1)
    reap(database, clock)
    assert status(database, job_id) == "expired"
    with database.read() as session:
        assert session.get(OutboxMessage, job_id) is None


def test_jobs_of_a_dead_owner_are_requeued_at_once(database: Database, clock: FakeClock) -> None:
    job_id = submit(database, clock)
    claim(database, clock, job_id)
    with database.write() as session:
        lease_reaper.expire_leases_of(session, "another", now=clock())
        assert session.get_one(Job, job_id).status == "running"
        lease_reaper.expire_leases_of(session, "one", now=clock())
    assert status(database, job_id) == "queued"


def test_reap_is_idempotent(database: Database, clock: FakeClock) -> None:
    job_id = submit(database, clock)
    claim(database, clock, job_id)
    clock.advance(31)
    for _ in range(2):
        reap(database, clock)
    with database.read() as session:
        messages = [event.message for event in events.after(session, job_id, 0, 10)]
    assert messages == ["queued", "started", "the worker died, queued again"]


def test_old_idempotency_keys_are_deleted(database: Database, clock: FakeClock) -> None:
    with database.write() as session:
        idempotency.store_replies(session, {Scope("key", "POST /v1/edits", "k"): Reply("f", 202, "{}")}, now=clock())
    clock.advance(lease_reaper.IDEMPOTENCY_RETENTION.total_seconds() + 1)
    reap(database, clock)
    with database.read() as session:
        assert session.scalars(select(IdempotencyKey)).all() == []


@pytest.mark.parametrize("hours", [-48, -2, 2, 48])
def test_clock_jumps_lose_no_job(database: Database, clock: FakeClock, hours: int) -> None:
    """After a clock jump, waiting jobs are sent and jobs of dead workers requeued within an hour of the new time."""
    waiting, sent = submit(database, clock), list[str]()
    orphan = submit(database, clock)
    dispatcher = Dispatcher(database, recorded_sends(sent), clock)
    dispatcher.run_once()
    claim(database, clock, orphan)
    clock.advance(hours * 3600)
    sent.clear()
    for _ in range(62):
        clock.advance(60)
        dispatcher.run_once()
    assert waiting in sent
    assert orphan in sent
    assert status(database, orphan) == "queued"
