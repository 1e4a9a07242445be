"""Send outbox messages that are due to the broker, deliver webhooks, reap expired leases and make due changes of cases.

Any number may run; one is enough.

python -m service.dispatcher
"""

import logging
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from kombu.exceptions import OperationalError
from sqlalchemy.exc import IntegrityError

from api_schemas.edits import Priority
from service.core.app_state import AppState
from service.core.cases.sweep import sweep
from service.settings import ServiceSettings
from service.store import fleets, lease_reaper, logs, outbox, retention, unread_models
from service.store.celery_config import BROKER_PRIORITIES, TASK_NAME, celery_app, queue_for
from service.store.clock import Clock, utc_now
from service.store.database import Database
from service.store.errors import StoreError, StoreUnavailable
from service.store.failpoints import failpoint
from service.store.orm import OutboxMessage
from service.store.process import run_process
from service.webhooks.delivery_loop import Deliverer

POLL_SECONDS = 0.05
"""Seconds between two polls, which delay the start of a job. A poll costs half a millisecond."""
REAP_INTERVAL = timedelta(seconds=2)
READING_INTERVAL = timedelta(minutes=1)
SWEEP_INTERVAL = timedelta(seconds=1)

log = logging.getLogger(__name__)


class Dispatcher:
    """Moves due messages from the outbox to the broker.

    Args:
        send: Sends the id and priority of a job to the broker. Raises `OperationalError` if the broker is unavailable.
        deliver: Starts the delivery of webhooks that are due.
        sweep: Makes the changes of cases that are due.
    """

    def __init__(
        self,
        database: Database,
        send: Callable[[str, Priority], object],
        clock: Clock = utc_now,
        deliver: Callable[[], object] = lambda: None,
        sweep: Callable[[], object] = lambda: None,
    ) -> None:
        self._database = database
        self._send = send
        self._deliver = deliver
        self._sweep = sweep
        self._clock = clock
        self._reaped_at: datetime | None = None
        self._swept_at: datetime | None = None

    def run(self, stop: threading.Event) -> None:
        """Dispatch until `stop` is set. While the broker or the database is unavailable, messages stay in the outbox."""
        while not stop.wait(POLL_SECONDS):
            try:
                self.run_once()
            except (OperationalError, StoreUnavailable) as error:
                log.warning("The broker or the database is unavailable: %s", error)
                stop.wait(1.0)

    def run_once(self) -> None:
        """Reap expired leases, advance fleets, send due messages and start due deliveries."""
        if self._is_due(self._reaped_at, REAP_INTERVAL):
            self._reap_leases()
        if self._is_due(self._swept_at, SWEEP_INTERVAL):
            self._sweep()
            self._swept_at = self._clock()
        with self._database.read() as session:
            due = outbox.due(session, now=self._clock())
            priorities = outbox.priorities(session, due) if due else {}
        if due:
            self._send_due(due, priorities)
        self._deliver()

    def _is_due(self, last: datetime | None, interval: timedelta) -> bool:
        return last is None or abs(self._clock() - last) >= interval  # abs: the clock may be set back

    def _send_due(self, messages: Sequence[OutboxMessage], priorities: Mapping[str, Priority]) -> None:
        """Send first, then record it: after a crash in between a message is sent twice, which is harmless."""
        for message in messages:
            failpoint("enqueue.due")
            self._send(message.job_id, priorities[message.job_id])
            failpoint("enqueue.sent")
        with self._database.write() as session:
            for message in messages:
                outbox.mark_sent(session, message, now=self._clock())
        failpoint("enqueue.noted")

    def _reap_leases(self) -> None:
        with self._database.write() as session:
            lease_reaper.reap(session, now=self._clock())
        with self._database.write() as session:
            fleets.advance_all(session, now=self._clock())
        failpoint("fleet.committed")
        self._reaped_at = self._clock()


def run_maintenance_loop(settings: ServiceSettings, stop: threading.Event) -> None:
    """Run the maintenance once an hour until `stop` is set. A failed run is repeated an hour later."""
    while not stop.wait(retention.MAINTENANCE_INTERVAL.total_seconds()):
        try:
            log.info("Maintenance finished: %s", retention.run_maintenance(settings, utc_now()))
        except (OSError, StoreError) as error:
            log.warning("Maintenance failed: %s", error)


def run_reading_loop(settings: ServiceSettings, stop: threading.Event) -> None:
    """Queue jobs for base models that nobody has read, once a minute until `stop` is set."""
    database, registry = settings.database(), settings.registry()
    while True:
        try:
            with database.write() as session:
                unread_models.queue_unread(session, registry, now=utc_now())
        except (OSError, StoreError, IntegrityError) as error:  # another dispatcher may queue the same
            log.warning("Base models were not looked through: %s", error)
        if stop.wait(READING_INTERVAL.total_seconds()):
            return


def main() -> None:
    """Run the dispatcher until SIGTERM or SIGINT."""
    settings = ServiceSettings()
    logs.configure_process(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    app = celery_app(settings)
    threading.Thread(target=run_maintenance_loop, args=[settings, stop], daemon=True).start()
    if settings.hash_models:
        threading.Thread(target=run_reading_loop, args=[settings, stop], daemon=True).start()
    app_state = AppState.from_settings(settings)

    def send(job_id: str, priority: Priority) -> None:
        app.send_task(
            TASK_NAME, kwargs={"job_id": job_id}, queue=queue_for(job_id), priority=BROKER_PRIORITIES[priority]
        )

    deliverer = Deliverer.from_settings(settings)
    sweep_cases = partial(sweep, app_state)
    Dispatcher(app_state.database, send, deliver=deliverer.step, sweep=sweep_cases).run(stop)
    deliverer.stop()


if __name__ == "__main__":
    run_process(main)
