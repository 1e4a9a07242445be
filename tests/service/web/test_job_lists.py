"""Lists of jobs take the same work however many jobs there are."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from api_schemas.edits import EditRequest, Removal
from service.store import jobs
from service.store.database import Database
from service.store.ids import prefixed_id
from service.store.jobs import NewJob
from service.store.orm import Job, add_rows
from tests.fakes.clock import FakeClock

TOTAL = 10_000
REQUEST = EditRequest(model="tiny", removals=[Removal(concept="fox")])
STEP = 50
"""Instructions of SQLite's virtual machine between two calls of the progress handler."""


def add_jobs(database: Database, clock: FakeClock, count: int) -> list[str]:
    """Add queued, canceled and failed jobs of two tenants, and return the ids, oldest first."""
    template, rows = NewJob(REQUEST, "key").row(clock()), []
    for number in range(count):
        clock.now += timedelta(milliseconds=1)
        tenant, status = ("one", "two")[number % 10 == 0], ("queued", "canceled", "failed")[number % 3]
        rows.append(template | {"id": prefixed_id("edit", clock()), "tenant": tenant, "status": status})
    with database.write() as session:
        add_rows(session, Job, rows)
    return [row["id"] for row in rows]


def count_instructions(database: Database, read: Callable[[Session], object]) -> int:
    """Return how many instructions SQLite runs, rounded down to `STEP`."""
    calls = 0

    def note() -> None:
        nonlocal calls
        calls += 1

    with database.read() as session:
        connection: Any = session.connection().connection.driver_connection
        connection.set_progress_handler(note, STEP)
        read(session)
        connection.set_progress_handler(None, 0)
    return calls * STEP


FILTERS: tuple[Mapping[str, str | None], ...] = ({}, {"status": "failed"}, {"status": "queued", "verdict": None})


def test_page_of_ten_thousand_jobs_takes_constant_work(database: Database, clock: FakeClock) -> None:
    def work(filters: Mapping[str, str | None], after: str | None = None) -> int:
        return count_instructions(
            database, lambda session: jobs.list_edits(session, "one", filters, limit=26, after=after)
        )

    add_jobs(database, clock, 300)
    few = [work(filters) for filters in FILTERS]
    ids = add_jobs(database, clock, TOTAL)
    for filters, expected in zip(FILTERS, few, strict=True):
        for after in (None, ids[TOTAL // 2], ids[80]):
            assert work(filters, after) <= expected + 5 * STEP, (filters, after)
    with database.read() as session:
        assert jobs.count_by_status(session, "one")["failed"] == jobs.MAX_COUNTED


def test_edits_are_counted_by_status(database: Database, clock: FakeClock) -> None:
    add_jobs(database, clock, 30)
    with database.read() as session:
        counts = jobs.count_by_status(session, "one")
    assert {status: count for status, count in counts.items() if count} == {"queued": 9, "failed": 9, "canceled": 9}
