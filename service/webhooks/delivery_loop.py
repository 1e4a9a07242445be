"""Sends the messages that are due, several at a time: a slow receiver keeps nobody else waiting."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

import httpx

from api_schemas.webhooks import WebhookAttempt
from service.settings import ServiceSettings
from service.store import webhooks
from service.store.clock import Clock, utc_now
from service.store.database import Database
from service.store.encryption import SecretBox
from service.store.failpoints import failpoint
from service.webhooks.sender import STATUS_GONE, send
from service.webhooks.signing import WebhookSigner
from service.webhooks.ssrf_guard import PinnedTransport

MAX_CONCURRENT_DELIVERIES = 8

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Deliverer:
    """Any number may run: each message is taken by one of them, and given back when it is not heard of again."""

    database: Database
    transport: httpx.BaseTransport
    secret_box: Callable[[], SecretBox]
    """Asked at each attempt: keys may change meanwhile."""
    clock: Clock = utc_now
    executor: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(MAX_CONCURRENT_DELIVERIES, "webhooks")
    )
    _in_progress: set[str] = field(default_factory=set)

    @classmethod
    def from_settings(cls, settings: ServiceSettings) -> "Deliverer":
        """One that calls public receivers, and those that the operator allows."""
        return cls(settings.database(), PinnedTransport(settings.webhook_allowed_hosts), settings.secret_box)

    def step(self) -> None:
        """Hand what is due to the executor. Returns at once."""
        with self.database.read() as session:
            due = webhooks.due_deliveries(session, now=self.clock(), limit=MAX_CONCURRENT_DELIVERIES)
        for delivery_id in due:
            if delivery_id not in self._in_progress and len(self._in_progress) < MAX_CONCURRENT_DELIVERIES:
                self._in_progress.add(delivery_id)
                self.executor.submit(self._attempt, delivery_id)

    def stop(self) -> None:
        """Wait for the attempts that are under way; no other begins."""
        self.executor.shutdown(wait=True, cancel_futures=True)
        self.transport.close()

    def _attempt(self, delivery_id: str) -> None:
        try:
            self.deliver(delivery_id)
        except Exception:  # the database is away, say: the message is due again when its time is up
            log.exception("%s: the attempt failed", delivery_id)
        finally:
            self._in_progress.discard(delivery_id)

    def deliver(self, delivery_id: str) -> None:
        """One attempt, unless somebody else makes it. A crash before it is noted sends the message once more."""
        with self.database.write() as session:
            taken = webhooks.claim_delivery(session, delivery_id, now=self.clock())
        if taken is None:
            return
        delivery, endpoint = taken
        failpoint("webhook.taken")
        started = self.clock()
        signer = WebhookSigner.from_row(endpoint, self.secret_box())
        outcome = send(self.transport, endpoint.url, signer, delivery.id, delivery.body.encode(), started)
        failpoint("webhook.sent")
        attempt = WebhookAttempt.model_validate(asdict(outcome) | {"at": started})
        with self.database.write() as session:
            webhooks.record_attempt(
                session,
                delivery_id,
                attempt.model_dump(mode="json"),
                delivered=outcome.delivered,
                gone=outcome.status_code == STATUS_GONE,
                wait=outcome.retry_after,
                now=self.clock(),
            )
        failpoint("webhook.noted")
        log.info("%s: %s", delivery_id, outcome.status_code or outcome.error)
