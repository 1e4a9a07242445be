"""Sends due webhook messages concurrently, so that a slow endpoint does not delay the others."""

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
    """Delivers webhook messages. Several instances may run: each message is claimed by one of them, for a limited time."""

    database: Database
    transport: httpx.BaseTransport
    secret_box: Callable[[], SecretBox]
    """Called at each attempt, because keys may be rotated."""
    clock: Clock = utc_now
    executor: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(MAX_CONCURRENT_DELIVERIES, "webhooks")
    )
    _in_progress: set[str] = field(default_factory=set)

    @classmethod
    def from_settings(cls, settings: ServiceSettings) -> "Deliverer":
        """Create a deliverer that calls public endpoints and those that the operator allows."""
        return cls(settings.database(), PinnedTransport(settings.webhook_allowed_hosts), settings.secret_box)

    def step(self) -> None:
        """Submit the due messages to the executor and return at once."""
        with self.database.read() as session:
            due = webhooks.due_deliveries(session, now=self.clock(), limit=MAX_CONCURRENT_DELIVERIES)
        for delivery_id in due:
            if delivery_id not in self._in_progress and len(self._in_progress) < MAX_CONCURRENT_DELIVERIES:
                self._in_progress.add(delivery_id)
                self.executor.submit(self._attempt, delivery_id)

    def stop(self) -> None:
        """Wait for running attempts; no new ones are started."""
        self.executor.shutdown(wait=True, cancel_futures=True)
        self.transport.close()

    def _attempt(self, delivery_id: str) -> None:
        try:
            self.deliver(delivery_id)
        except Exception:  # The message becomes due again when its claim expires.
            log.exception("%s: the delivery attempt failed", delivery_id)
        finally:
            self._in_progress.discard(delivery_id)

    def deliver(self, delivery_id: str) -> None:
        """Make one attempt, unless another process has claimed it. After a crash the message is sent once more."""
        with self.database.write() as session:
            claimed = webhooks.claim_delivery(session, delivery_id, now=self.clock())
        if claimed is None:
            return
        delivery, endpoint = claimed
        failpoint("webhook.taken")
        started = self.clock()
        signer = WebhookSigner.from_row(endpoint, self.secret_box())
        result = send(self.transport, endpoint.url, signer, delivery.id, delivery.body.encode(), started)
        failpoint("webhook.sent")
        attempt = WebhookAttempt.model_validate(asdict(result) | {"at": started})
        with self.database.write() as session:
            webhooks.record_attempt(
                session,
                delivery_id,
                attempt.model_dump(mode="json"),
                delivered=result.delivered,
                gone=result.status_code == STATUS_GONE,
                retry_after=result.retry_after,
                now=self.clock(),
            )
        failpoint("webhook.noted")
        log.info("%s: %s", delivery_id, result.status_code or result.error)
