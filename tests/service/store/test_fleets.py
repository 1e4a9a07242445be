"""Fleets on each supported database."""

from datetime import timedelta

from api_schemas.edits import Removal
from api_schemas.fleets import FleetRequest, FleetSelector
from api_schemas.jobs import JobError
from service.store import claims, fleets, jobs
from service.store.database import Database
from service.store.fleets import NewTarget
from service.store.jobs import NewJob
from service.store.orm import Fleet, Job
from tests.fakes.clock import FakeClock

LEASE = timedelta(seconds=30)
REQUEST = FleetRequest(selector=FleetSelector(labels=["production"]), removals=[Removal(concept="fox")])


def fail(database: Database, job_id: str | None, clock: FakeClock) -> None:
    with database.write() as session:
        claim = claims.claim(session, job_id or "", owner="w", lease=LEASE, now=clock())
        assert claim
        claims.fail(session, claim, JobError(code="crashed", message="crashed"), now=clock())


def advance(database: Database, clock: FakeClock) -> None:
    with database.write() as session:
        fleets.advance_all(session, now=clock())


def test_retried_edit_takes_the_place_of_the_failed_one(database: Database, clock: FakeClock) -> None:
    """The fleet has ended, and is running again until the edit and a new statement have ended."""
    with database.write() as session:
        owner = {"tenant": "default", "api_key_id": "key"}
        fleet_id = fleets.create(session, REQUEST, [NewTarget("tiny", "0" * 64)], **owner, now=clock()).id
    advance(database, clock)
    with database.read() as session:
        (target,) = fleets.targets(session, fleet_id)
    fail(database, target.edit_id, clock)
    advance(database, clock)
    with database.read() as session:
        statement = session.get_one(Fleet, fleet_id).statement_job_id
    fail(database, statement, clock)
    advance(database, clock)
    with database.write() as session:
        assert session.get_one(Fleet, fleet_id).finished_at
        failed = session.get_one(Job, target.edit_id)
        again = jobs.create(session, NewJob(claims.parse_request(failed), "operator"), now=clock())
        fleets.replace_edit(session, failed.id, again, now=clock())
        fleets.replace_edit(session, failed.id, failed, now=clock())  # another retry of the first job changes nothing
    advance(database, clock)
    with database.read() as session:
        (target,) = fleets.targets(session, fleet_id)
        fleet = session.get_one(Fleet, fleet_id)
        assert (target.state, target.edit_id, target.error) == ("queued", again.id, None)
        assert (fleet.finished_at, fleet.statement_job_id) == (None, None)
