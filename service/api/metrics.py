"""What Prometheus reads: requests as this process saw them, jobs as the database has them."""

import logging
import time
from collections.abc import Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.store.clock import Clock
from service.store.database import Database
from service.store.orm import Artifact, Attempt, Job, OutboxMessage, WebhookDelivery

log = logging.getLogger(__name__)


class Metrics:
    """The registry of one application."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter("expunge_http_requests", "Requests answered.", labels, registry=self.registry)
        self.seconds = Histogram(
            "expunge_http_request_seconds",
            "From a request to the end of its answer.",
            labels[:2],
            registry=self.registry,
        )
        self.registry.register(StoreCollector(database, clock))


class StoreCollector(Collector):
    """Reads the database when it is asked, so that any API process tells about all workers."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def describe(self) -> list[Metric]:
        """Nothing in advance: registering must not need a database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All of it, from one consistent view."""
        with self._database.read() as session:
            yield _by_status("expunge_jobs", "Jobs by status.", session, Job)
            yield _by_status("expunge_webhook_deliveries", "Webhook messages by status.", session, WebhookDelivery)
            yield _age(
                "expunge_queue_oldest_seconds", "How long the job waits that waits longest.", self._oldest(session)
            )
            yield _age(
                "expunge_outbox_lag_seconds", "How long the doorbell is due that is due longest.", self._due(session)
            )
            attempts = session.scalar(select(func.count()).select_from(Attempt)) or 0
            yield CounterMetricFamily("expunge_attempts", "Claims of jobs by workers.", attempts)
            size = session.scalar(select(func.sum(Artifact.size)).where(Artifact.overlay.is_(None))) or 0
            yield GaugeMetricFamily("expunge_artifact_bytes", "Published bytes that are stored.", float(size))

    def _oldest(self, session: Session) -> float:
        return self._since(session.scalar(select(func.min(Job.queued_at)).where(Job.status == "queued")))

    def _due(self, session: Session) -> float:
        return self._since(session.scalar(select(func.min(OutboxMessage.due_at))))

    def _since(self, then: datetime | None) -> float:
        return max(0.0, (self._clock() - then).total_seconds()) if then else 0.0


class Measure:
    """Counts and times each request under its route's template, and logs a line about it: no query, no body."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, and look at the clock before and after."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started, status = time.perf_counter(), 500

        async def send_seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            return await self._app(scope, receive, send_seen)
        finally:
            self._note(scope, status, time.perf_counter() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        method, route = scope["method"], getattr(scope.get("route"), "path", "none")
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.seconds.labels(method, route).observe(seconds)
        log.info("%s %s %d %.0f ms", method, scope["path"], status, 1000 * seconds)


def _by_status(name: str, text: str, session: Session, table: type[Job] | type[WebhookDelivery]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["status"])
    for status, count in session.execute(select(table.status, func.count()).group_by(table.status)):
        family.add_metric([status], count)
    return family


def _age(name: str, text: str, seconds: float) -> Metric:
    return GaugeMetricFamily(name, text, seconds)
