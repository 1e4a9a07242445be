"""The order in which workers get jobs: fair between tenants, whatever the order of the messages."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from api_schemas.edits import EditRequest, Priority, Removal
from api_schemas.jobs import JobKind
from service.store import claims, fair_queue, jobs, outbox
from service.store.claims import Claim
from service.store.database import Database
from service.store.jobs import NewJob
from tests.fakes.clock import FakeClock

LEASE = timedelta(seconds=30)


def submit(
    database: Database, clock: FakeClock, tenant: str, priority: Priority = "normal", kind: JobKind = "removal"
) -> str:
    request = EditRequest(model="tiny", removals=[Removal(concept="fox")], priority=priority)
    with database.write() as session:
        job = jobs.create(session, NewJob(request, "key", tenant, kind), now=clock())
        for message in outbox.due(session, now=clock()):
            outbox.mark_sent(session, message, now=clock())
    clock.advance(1)
    return job.id


def receive(database: Database, clock: FakeClock, job_id: str, owner: str = "one") -> Claim | None:
    """Handle a message as a worker does, which takes a second."""
    with database.write() as session:
        claim = fair_queue.claim_next(session, job_id, owner=owner, lease=LEASE, now=clock())
    clock.advance(1)
    return claim


def receive_all(database: Database, clock: FakeClock, messages: Sequence[str]) -> list[str]:
    """Handle messages one after the other, and end each job. Returns the jobs in the order in which they were run."""
    order = []
    for message in messages:
        claim = receive(database, clock, message)
        assert claim
        order.append(claim.job_id)
        with database.write() as session:
            claims.succeed(session, claim, [], "0" * 64, None, now=clock())
    return order


@pytest.mark.parametrize("kind", ["removal", "plan"])
def test_tenants_take_turns(database: Database, clock: FakeClock, kind: JobKind) -> None:
    many = [submit(database, clock, "many", kind=kind) for _ in range(4)]
    few = [submit(database, clock, "few", kind=kind) for _ in range(2)]
    assert receive_all(database, clock, [*many, *few]) == [many[0], few[0], many[1], few[1], many[2], many[3]]


def test_priority_comes_before_the_turn(database: Database, clock: FakeClock) -> None:
    low, normal = submit(database, clock, "one", "low"), submit(database, clock, "two")
    high = [submit(database, clock, "one", "high") for _ in range(2)]
    assert receive_all(database, clock, [low, normal, *high]) == [*high, normal, low]


def test_dry_runs_do_not_count_as_turns_of_edits(database: Database, clock: FakeClock) -> None:
    first = submit(database, clock, "one")
    receive_all(database, clock, [submit(database, clock, "two", kind="plan")])
    second = submit(database, clock, "two")
    third = submit(database, clock, "one")
    assert receive_all(database, clock, [first, second, third]) == [first, second, third]


def test_job_that_waits_for_its_retry_is_left_out(database: Database, clock: FakeClock) -> None:
    crashed = receive(database, clock, submit(database, clock, "one"))
    assert crashed
    with database.write() as session:
        claims.release(session, crashed, "crashed", now=clock(), delay=timedelta(seconds=60))
    following = submit(database, clock, "one")
    assert receive_all(database, clock, [following]) == [following]
    assert receive(database, clock, following) is None


def test_interrupted_job_of_the_same_worker_comes_first(database: Database, clock: FakeClock) -> None:
    interrupted, following = submit(database, clock, "one"), submit(database, clock, "two")
    first = receive(database, clock, interrupted)
    again = receive(database, clock, following)
    assert first
    assert again
    assert (again.job_id, again.fence) == (interrupted, first.fence + 1)


def test_job_of_another_worker_is_not_claimed(database: Database, clock: FakeClock) -> None:
    job_id = submit(database, clock, "one")
    assert receive(database, clock, job_id, "one")
    assert receive(database, clock, job_id, "two") is None
    clock.advance(LEASE.total_seconds())
    assert receive(database, clock, job_id, "two")


def test_unknown_job_is_ignored(database: Database, clock: FakeClock) -> None:
    assert receive(database, clock, "edit_unknown") is None
