"""A worker reports that it runs, and that it has ended."""

from service.store import workers
from service.store.database import Database
from service.store.orm import WorkerPresence
from tests.fakes.clock import FakeClock
from tests.fakes.stack import wait_until
from worker.presence import report_presence
from worker.settings import WorkerSettings


def test_worker_reports_until_it_ends(database: Database, clock: FakeClock) -> None:
    def row() -> WorkerPresence | None:
        with database.read() as session:
            return session.get(WorkerPresence, "gpu-1")

    started_at = clock()
    with report_presence(WorkerSettings(worker_name="gpu-1"), database, clock, interval=0.01):
        wait_until(lambda: row() is not None)
        clock.advance(60)
        wait_until(lambda: (found := row()) is not None and found.seen_at == clock())
    found = row()
    assert found
    assert (found.started_at, found.stopped_at, found.queues) == (started_at, clock(), ["plans", "edits"])
    assert workers.state_of(found, None, clock()) == "stopped"


def test_worker_without_a_database_works_on(database: Database, clock: FakeClock) -> None:
    with database.write() as session:
        WorkerPresence.__table__.drop(session.connection())  # type: ignore[attr-defined]
    with report_presence(WorkerSettings(worker_name="gpu-1"), database, clock, interval=0.01):
        pass
