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
from service.webhooks.sender import GONE, send
from service.webhooks.signing import Signer
from service.webhooks.ssrf_guard import PinnedTransport

SENDERS = 8

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Deliverer:
    """Any number may run: each message is taken by one of them, and given back when it is not heard of again."""

    database: Database
    transport: httpx.BaseTransport
    sealer: Callable[[], SecretBox]
    """Asked at each attempt: keys may change meanwhile."""
    clock: Clock = utc_now
    senders: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(SENDERS, "webhooks"))
    _at_work: set[str] = field(default_factory=set)

    @classmethod
    def from_settings(cls, settings: ServiceSettings) -> "Deliverer":
        """One that calls public receivers, and those that the operator allows."""
        return cls(settings.database(), PinnedTransport(settings.webhook_allowed_hosts), settings.secret_box)

    def step(self) -> None:
        """Hand what is due to the senders. Returns at once."""
        with self.database.read() as session:
            due = webhooks.due(session, now=self.clock(), limit=SENDERS)
        for delivery_id in due:
            if delivery_id not in self._at_work and len(self._at_work) < SENDERS:
                self._at_work.add(delivery_id)
                self.senders.submit(self._attempt, delivery_id)

    def stop(self) -> None:
        """Wait for the attempts that are under way; no other begins."""
        self.senders.shutdown(wait=True, cancel_futures=True)
        self.transport.close()

    def _attempt(self, delivery_id: str) -> None:
        try:
            self.deliver(delivery_id)
        except Exception:  # the database is away, say: the message is due again when its time is up
            log.exception("%s: the attempt failed", delivery_id)
        finally:
            self._at_work.discard(delivery_id)

    def deliver(self, delivery_id: str) -> None:
        """One attempt, unless somebody else makes it. A crash before it is noted sends the message once more."""
        with self.database.write() as session:
            taken = webhooks.take(session, delivery_id, now=self.clock())
        if taken is None:
            return
        delivery, endpoint = taken
        failpoint("webhook.taken")
        started = self.clock()
        signer = Signer.opened(endpoint, self.sealer())
        outcome = send(self.transport, endpoint.url, signer, delivery.id, delivery.body.encode(), started)
        failpoint("webhook.sent")
        attempt = WebhookAttempt.model_validate(asdict(outcome) | {"at": started})
        with self.database.write() as session:
            webhooks.settle(
                session,
                delivery_id,
                attempt.model_dump(mode="json"),
                delivered=outcome.delivered,
                gone=outcome.status_code == GONE,
                wait=outcome.retry_after,
                now=self.clock(),
            )
        failpoint("webhook.noted")
        log.info("%s: %s", delivery_id, outcome.status_code or outcome.error)
