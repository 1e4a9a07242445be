"""Prometheus metrics: HTTP requests of this process, and jobs from the database."""

import logging
import time
from collections.abc import Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import ColumnElement, String, cast, func, or_, select
from sqlalchemy.orm import Session
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.case_metrics import collect_cases
from service.store.clock import Clock
from service.store.database import Database
from service.store.orm import Artifact, Attempt, Job, OutboxMessage, WebhookDelivery

log = logging.getLogger(__name__)


class Metrics:
    """The metrics of one application and their registry."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter("expunge_http_requests", "HTTP requests.", labels, registry=self.registry)
        self.seconds = Histogram(
            "expunge_http_request_seconds",
            "Time from a request to the end of its response.",
            labels[:2],
            registry=self.registry,
        )
        self.registry.register(StoreCollector(database, clock))


class StoreCollector(Collector):
    """Reads the database on each scrape, so that any API process reports all workers."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def describe(self) -> list[Metric]:
        """Return no descriptions: registration must not access the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics, from one transaction."""
        with self._database.read() as session:
            yield _status_gauge("expunge_jobs", "Jobs by status.", session, Job)
            yield _status_gauge("expunge_webhook_deliveries", "Webhook messages by status.", session, WebhookDelivery)
            yield _age_gauge(
                "expunge_queue_oldest_seconds",
                "Age of the oldest queued job.",
                self._oldest_queued_seconds(session),
            )
            yield _age_gauge(
                "expunge_outbox_lag_seconds",
                "Age of the oldest undelivered outbox message.",
                self._outbox_lag_seconds(session),
            )
            attempts = session.scalar(select(func.count()).select_from(Attempt)) or 0
            yield CounterMetricFamily("expunge_attempts", "Jobs claimed by workers.", attempts)
            size = session.scalar(select(func.sum(Artifact.size)).where(_is_stored())) or 0
            yield GaugeMetricFamily("expunge_artifact_bytes", "Bytes of published artifacts in the store.", float(size))
            yield from collect_cases(session, self._clock())

    def _oldest_queued_seconds(self, session: Session) -> float:
        return self._seconds_since(session.scalar(select(func.min(Job.queued_at)).where(Job.status == "queued")))

    def _outbox_lag_seconds(self, session: Session) -> float:
        return self._seconds_since(session.scalar(select(func.min(OutboxMessage.due_at))))

    def _seconds_since(self, then: datetime | None) -> float:
        return max(0.0, (self._clock() - then).total_seconds()) if then else 0.0


class MetricsMiddleware:
    """Counts and times requests by route template, and logs each without its query and body."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request and measure its duration."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started, status = time.perf_counter(), 500

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            return await self._app(scope, receive, send_and_note_status)
        finally:
            self._observe(scope, status, time.perf_counter() - started)

    def _observe(self, scope: Scope, status: int, seconds: float) -> None:
        method, route = scope["method"], getattr(scope.get("route"), "path", "none")
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.seconds.labels(method, route).observe(seconds)
        log.info("%s %s %d %.0f ms", method, scope["path"], status, 1000 * seconds, extra=_access_fields(scope))


def _access_fields(scope: Scope) -> dict[str, str]:
    """Return who sent a request: the key and its tenant if there is one, and the address of the client."""
    fields: dict[str, str] = {}
    if caller := scope.get("state", {}).get("caller"):
        fields |= {"key_id": caller.key_id, "tenant": caller.tenant}
    if address := scope.get("client"):
        fields["client"] = address[0]
    return fields


def _is_stored() -> ColumnElement[bool]:
    """Return the condition that the artifact has its own blob. Earlier versions stored a missing overlay as the JSON `null`."""
    return or_(Artifact.overlay.is_(None), cast(Artifact.overlay, String) == "null")


def _status_gauge(name: str, text: str, session: Session, table: type[Job] | type[WebhookDelivery]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["status"])
    for status, count in session.execute(select(table.status, func.count()).group_by(table.status)):
        family.add_metric([status], count)
    return family


def _age_gauge(name: str, text: str, seconds: float) -> Metric:
    return GaugeMetricFamily(name, text, seconds)
