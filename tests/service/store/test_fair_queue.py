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
    database: Database,
    clock: FakeClock,
    tenant: str,
    priority: Priority = "normal",
    kind: JobKind = "removal",
    model: str = "tiny",
) -> str:
    request = EditRequest(model=model, removals=[Removal(concept="fox")], priority=priority)
    with database.write() as session:
        job = jobs.create(session, NewJob(request, "key", tenant, kind), now=clock())
        for message in outbox.due(session, now=clock()):
            outbox.mark_sent(session, message, now=clock())
    clock.advance(1)
    return job.id


def receive(
    database: Database, clock: FakeClock, job_id: str, owner: str = "one", warm_model: str | None = None
) -> Claim | None:
    """Handle a message as a worker does, which takes a second."""
    with database.write() as session:
        claim = fair_queue.claim_next(session, job_id, owner=owner, lease=LEASE, now=clock(), warm_model=warm_model)
    clock.advance(1)
    return claim


def receive_all(database: Database, clock: FakeClock, messages: Sequence[str]) -> list[str]:
    """Handle messages one after the other, and end each job. Returns the jobs in the order in which they were run."""
    order: list[str] = []
    warm_model = None
    for message in messages:
        claim = receive(database, clock, message, warm_model=warm_model)
        assert claim
        order.append(claim.job_id)
        warm_model = claim.request.model
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


def test_jobs_on_the_same_base_come_first(database: Database, clock: FakeClock) -> None:
    """Also those of another tenant: loading a model takes longer than a turn."""
    first = submit(database, clock, "one", model="a")
    b1, a2 = submit(database, clock, "one", model="b"), submit(database, clock, "two", model="a")
    b2, a3 = submit(database, clock, "two", model="b"), submit(database, clock, "one", model="a")
    assert receive_all(database, clock, [first, b1, a2, b2, a3]) == [first, a2, a3, b2, b1]


def test_priority_comes_before_the_base(database: Database, clock: FakeClock) -> None:
    first, same = submit(database, clock, "one", model="a"), submit(database, clock, "one", model="a")
    urgent = submit(database, clock, "one", "high", model="b")
    assert receive_all(database, clock, [urgent, first, same]) == [urgent, first, same]
    again, other = submit(database, clock, "one", model="a"), submit(database, clock, "one", "high", model="b")
    assert receive_all(database, clock, [again, other]) == [other, again]


def test_jobs_on_another_base_are_not_starved(database: Database, clock: FakeClock) -> None:
    """A tenant sends jobs on the base in memory all the time; the other tenant's job runs after `MAX_WARM_WAIT`."""
    cold = submit(database, clock, "patient", model="b")
    submitted = clock()
    for _ in range(100):
        message = submit(database, clock, "busy", model="a")
        claim = receive(database, clock, message, warm_model="a")
        assert claim
        if claim.job_id == cold:
            break
        with database.write() as session:
            claims.succeed(session, claim, [], "0" * 64, None, now=clock())
    else:
        pytest.fail("the job on another base was never claimed")
    waited = clock() - submitted
    assert timedelta(seconds=30) < waited < fair_queue.MAX_WARM_WAIT + timedelta(seconds=5)


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
