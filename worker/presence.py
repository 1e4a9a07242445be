"""A worker reports at an interval that it runs, from a thread of Celery's main process: that one survives its children."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from service.store import workers
from service.store.clock import Clock, utc_now
from service.store.database import Database
from service.store.version import VERSION
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)


@contextmanager
def report_presence(
    settings: WorkerSettings,
    database: Database,
    clock: Clock = utc_now,
    interval: float = workers.REPORT_INTERVAL.total_seconds(),
) -> Iterator[None]:
    """Report the worker of this process while the block runs, and its end."""
    stop, started_at = threading.Event(), clock()
    name, queues = settings.main_owner, settings.queues.split(",")

    def report_once() -> None:
        with database.write() as session:
            workers.report(session, name, queues=queues, version=VERSION, started_at=started_at, now=clock())

    def report_until_stopped() -> None:
        while True:
            try:
                report_once()
            except Exception as error:  # a worker that cannot report may still work
                log.warning("The worker could not report: %s", type(error).__name__)
            if stop.wait(interval):
                return

    thread = threading.Thread(target=report_until_stopped, name="presence", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)
        _record_stop(database, name, clock)


def _record_stop(database: Database, name: str, clock: Clock) -> None:
    try:
        with database.write() as session:
            workers.record_stop(session, name, now=clock())
    except Exception as error:
        log.warning("The end of the worker was not recorded: %s", type(error).__name__)
