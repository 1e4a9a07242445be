"""Rings the doorbells that are due, and sweeps up what nobody finished. Any number may run; one is enough.

python -m service.dispatcher
"""

import logging
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from kombu.exceptions import OperationalError

from api_schemas.edits import Priority
from service.settings import ServiceSettings
from service.store import lease_reaper, logs, outbox, retention
from service.store.celery_config import PRIORITIES, TASK, celery_app, queue_of
from service.store.clock import Clock, utc_now
from service.store.database import Database
from service.store.errors import StoreError, StoreUnavailable
from service.store.failpoints import failpoint
from service.store.orm import OutboxMessage
from service.webhooks.delivery_loop import Deliverer

RING_INTERVAL = 0.05
"""Seconds between two looks: what a job waits for before a worker hears of it. A look costs half a millisecond."""
SWEEP_INTERVAL = timedelta(seconds=2)

log = logging.getLogger(__name__)


class Dispatcher:
    """`send` takes a job's id and priority to the broker, and raises `OperationalError` when it cannot; `deliver` begins
    with the webhooks that are due."""

    def __init__(
        self,
        database: Database,
        send: Callable[[str, Priority], object],
        clock: Clock = utc_now,
        deliver: Callable[[], object] = lambda: None,
    ) -> None:
        self._database = database
        self._send = send
        self._deliver = deliver
        self._clock = clock
        self._swept: datetime | None = None

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. A broker or a database that is away is waited for: the outbox keeps what is due."""
        while not stop.wait(RING_INTERVAL):
            try:
                self.step()
            except (OperationalError, StoreUnavailable) as error:
                log.warning("the broker or the database is away: %s", error)
                stop.wait(1.0)

    def step(self) -> None:
        """One round."""
        if self._swept is None or abs(self._clock() - self._swept) >= SWEEP_INTERVAL:  # clocks are also set back
            self._sweep()
        with self._database.read() as session:
            due = outbox.due(session, now=self._clock())
            priorities = outbox.priorities(session, due) if due else {}
        if due:
            self._ring(due, priorities)
        self._deliver()

    def _ring(self, bells: Sequence[OutboxMessage], priorities: Mapping[str, Priority]) -> None:
        """Send first, note it then: a crash in between rings twice, which is harmless."""
        for bell in bells:
            failpoint("enqueue.due")
            self._send(bell.job_id, priorities[bell.job_id])
            failpoint("enqueue.sent")
        with self._database.write() as session:
            for bell in bells:
                outbox.mark_sent(session, bell, now=self._clock())
        failpoint("enqueue.noted")

    def _sweep(self) -> None:
        with self._database.write() as session:
            lease_reaper.reap(session, now=self._clock())
        self._swept = self._clock()


def keep_house(settings: ServiceSettings, stop: threading.Event) -> None:
    """Tidy up once an hour, until `stop` is set. What fails is tried again an hour later."""
    while not stop.wait(retention.MAINTENANCE_INTERVAL.total_seconds()):
        try:
            log.info("tidied up: %s", retention.run_maintenance(settings, utc_now()))
        except (OSError, StoreError) as error:
            log.warning("tidying up failed: %s", error)


def main() -> None:
    """Dispatch until SIGTERM or SIGINT."""
    settings = ServiceSettings()
    logs.configure(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    app = celery_app(settings)
    threading.Thread(target=keep_house, args=[settings, stop], daemon=True).start()
    database = settings.database()

    def send(job_id: str, priority: Priority) -> None:
        app.send_task(TASK, kwargs={"job_id": job_id}, queue=queue_of(job_id), priority=PRIORITIES[priority])

    deliverer = Deliverer.from_settings(settings)
    Dispatcher(database, send, deliver=deliverer.step).run(stop)
    deliverer.stop()


if __name__ == "__main__":
    main()
