"""Webhook endpoints and their messages. A message is written in the transaction that changes the job, and sent later."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from api_schemas.jobs import ModelStatus
from service.store.cases_orm import Case
from service.store.ids import prefixed_id
from service.store.orm import Job, WebhookDelivery, WebhookEndpoint

RETRY_DELAYS = tuple(
    timedelta(seconds=seconds) for seconds in (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
)
"""Delays between attempts, as Standard Webhooks recommends: about three days in total."""
JITTER = 0.1
ATTEMPT_TIMEOUT = timedelta(seconds=60)
"""An attempt whose result was not recorded within this time is made again."""
MAX_LOGGED_ATTEMPTS = 20
TEST_EVENT = "endpoint.test"
_ACTIVE_ENDPOINTS = select(WebhookEndpoint.id, WebhookEndpoint.events).where(
    WebhookEndpoint.tenant == bindparam("tenant"),
    WebhookEndpoint.deleted_at.is_(None),
    WebhookEndpoint.disabled_at.is_(None),
)


def add_endpoint(session: Session, tenant: str, *, now: datetime, **fields: Any) -> WebhookEndpoint:
    """Add an endpoint."""
    endpoint = WebhookEndpoint(id=prefixed_id("whe", now), tenant=tenant, created_at=now, **fields)
    session.add(endpoint)
    session.flush()
    return endpoint


def list_endpoints(session: Session, tenant: str) -> Sequence[WebhookEndpoint]:
    """Return the tenant's endpoints, oldest first."""
    query = select(WebhookEndpoint).where(WebhookEndpoint.tenant == tenant, WebhookEndpoint.deleted_at.is_(None))
    return session.scalars(query.order_by(WebhookEndpoint.id)).all()


def get_endpoint(session: Session, tenant: str, endpoint_id: str) -> WebhookEndpoint | None:
    """Return an endpoint of the tenant, or None."""
    endpoint = session.get(WebhookEndpoint, endpoint_id)
    return endpoint if endpoint and endpoint.tenant == tenant and endpoint.deleted_at is None else None


def remove_endpoint(session: Session, endpoint: WebhookEndpoint, *, now: datetime) -> None:
    """Delete the endpoint and abandon its pending messages. Its deliveries are kept for auditing."""
    endpoint.deleted_at = now
    _cancel_pending(session, endpoint.id)


def update_endpoint(
    session: Session, endpoint: WebhookEndpoint, *, enabled: bool | None, now: datetime, **fields: Any
) -> None:
    """Change the given fields. Disabling abandons pending messages; those due are sent to a new URL."""
    for name, value in fields.items():
        setattr(endpoint, name, value)
    if enabled:
        endpoint.disabled_at = None
    elif enabled is False:
        _disable(session, endpoint, now)


def enqueue_test(session: Session, endpoint: WebhookEndpoint, *, now: datetime) -> WebhookDelivery:
    """Add a test message for the endpoint, even if it is disabled."""
    data = {"id": endpoint.id, "url": f"/v1/webhook_endpoints/{endpoint.id}"}
    delivery = _new_delivery(endpoint.id, None, TEST_EVENT, _body(TEST_EVENT, data, now), now)
    session.add(delivery)
    session.flush()
    return delivery


def enqueue_deliveries(session: Session, jobs: Sequence[Job], status: str, *, now: datetime) -> None:
    """Add a message about each job for each of its tenant's endpoints that subscribed to the status."""
    event_type = f"edit.{status}"
    for tenant in {job.tenant for job in jobs}:
        active = session.execute(_ACTIVE_ENDPOINTS, {"tenant": tenant})
        subscribed = [endpoint_id for endpoint_id, events in active if event_type in events]
        session.add_all(
            _new_delivery(endpoint_id, job.id, event_type, _body(event_type, _edit_news(job, status), now), now)
            for job in jobs
            if job.tenant == tenant
            for endpoint_id in subscribed
        )


def enqueue_case_deliveries(session: Session, case: Case, news: str, *, now: datetime) -> None:
    """Add a message about a case for each endpoint of its tenant that subscribed to the news, such as `in_force`."""
    event_type = f"case.{news}"
    data = {"id": case.id, "reference": case.reference, "state": case.state, "url": f"/v1/cases/{case.id}"}
    _enqueue(session, case.tenant, event_type, data, now, case_id=case.id)


def enqueue_model_deliveries(session: Session, tenant: str, model: str, status: ModelStatus, *, now: datetime) -> None:
    """Add a message about the status of a model for each endpoint of the tenant that subscribed to it."""
    event_type, data = f"model.{status}", {"id": model, "status": status, "url": f"/v1/models/{model}"}
    _enqueue(session, tenant, event_type, data, now, model=model)


def _enqueue(
    session: Session, tenant: str, event_type: str, data: Mapping[str, str | None], now: datetime, **subject: str
) -> None:
    """Add a message for each endpoint of the tenant that subscribed to the event."""
    active = session.execute(_ACTIVE_ENDPOINTS, {"tenant": tenant})
    session.add_all(
        _new_delivery(endpoint_id, None, event_type, _body(event_type, data, now), now, **subject)
        for endpoint_id, events in active
        if event_type in events
    )


def _new_delivery(
    endpoint_id: str, job_id: str | None, event_type: str, body: str, now: datetime, **subject: str
) -> WebhookDelivery:
    return WebhookDelivery(
        id=prefixed_id("msg", now),
        endpoint_id=endpoint_id,
        job_id=job_id,
        type=event_type,
        body=body,
        status="pending",
        created_at=now,
        next_attempt_at=now,
        tries=0,
        attempts=[],
        **subject,
    )


def due_deliveries(session: Session, *, now: datetime, limit: int = 20) -> Sequence[str]:
    """Return the ids of the messages that are due, oldest first."""
    waiting = select(WebhookDelivery.id).where(WebhookDelivery.next_attempt_at <= now)
    return session.scalars(waiting.order_by(WebhookDelivery.next_attempt_at).limit(limit)).all()


def claim_delivery(
    session: Session, delivery_id: str, *, now: datetime
) -> tuple[WebhookDelivery, WebhookEndpoint] | None:
    """Claim the next attempt for a limited time. Returns None if another process has claimed it."""
    query = update(WebhookDelivery).where(WebhookDelivery.id == delivery_id, WebhookDelivery.next_attempt_at <= now)
    delivery = session.scalar(query.values(next_attempt_at=now + ATTEMPT_TIMEOUT).returning(WebhookDelivery))
    if delivery is None:
        return None
    endpoint = session.get(WebhookEndpoint, delivery.endpoint_id)
    assert endpoint, "guaranteed by a foreign key"
    return delivery, endpoint


def record_attempt(
    session: Session,
    delivery_id: str,
    attempt: Mapping[str, Any],
    *,
    delivered: bool,
    gone: bool,
    retry_after: float,
    now: datetime,
) -> None:
    """Record an attempt and schedule the next one, if there is one. Test messages have one attempt.

    Args:
        gone: the endpoint answered 410 and wants no more messages.
        retry_after: the endpoint's `Retry-After`, in seconds.
    """
    delivery = session.get_one(WebhookDelivery, delivery_id, with_for_update=True)
    delivery.tries += 1
    delivery.attempts = [*delivery.attempts, dict(attempt)][-MAX_LOGGED_ATTEMPTS:]
    delay = None if delivery.type == TEST_EVENT else retry_delay(delivery.tries, delivery.id)
    if delivered or gone or delay is None:
        delivery.status = "delivered" if delivered else "failed"
        delivery.next_attempt_at = None
    elif delivery.next_attempt_at is not None:  # The endpoint was not deleted in the meantime.
        delivery.next_attempt_at = now + max(delay, timedelta(seconds=retry_after))
    if gone:
        _disable(session, session.get_one(WebhookEndpoint, delivery.endpoint_id), now)


def retry_delay(tries: int, delivery_id: str) -> timedelta | None:
    """Return the delay after `tries` attempts, or None after the last one.

    A jitter of up to 10 %, derived from the message's id, keeps endpoints that fail together from being retried together.
    """
    if tries > len(RETRY_DELAYS):
        return None
    share = hashlib.sha256(f"{delivery_id}.{tries}".encode()).digest()[0] / 255
    return RETRY_DELAYS[tries - 1] * (1 + JITTER * share)


def list_deliveries(session: Session, endpoint_id: str, *, after: str | None, limit: int) -> Sequence[WebhookDelivery]:
    """Return messages to an endpoint, newest first, from the one after id `after`."""
    query = select(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint_id)
    if after is not None:
        query = query.where(WebhookDelivery.id < after)
    return session.scalars(query.order_by(WebhookDelivery.id.desc()).limit(limit)).all()


def get_delivery(session: Session, endpoint_id: str, delivery_id: str) -> WebhookDelivery | None:
    """Return a message to the endpoint, or None."""
    delivery = session.get(WebhookDelivery, delivery_id)
    return delivery if delivery and delivery.endpoint_id == endpoint_id else None


def redeliver(session: Session, delivery: WebhookDelivery, *, now: datetime) -> None:
    """Send the message again under the same id, starting with the first attempt."""
    delivery.status, delivery.next_attempt_at, delivery.tries = "pending", now, 0


def _disable(session: Session, endpoint: WebhookEndpoint, now: datetime) -> None:
    endpoint.disabled_at = now
    _cancel_pending(session, endpoint.id)


def _cancel_pending(session: Session, endpoint_id: str) -> None:
    pending = update(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint_id)
    session.execute(pending.where(WebhookDelivery.status == "pending").values(status="failed", next_attempt_at=None))


def _edit_news(job: Job, status: str) -> dict[str, str | None]:
    return {"id": job.id, "status": status, "verdict": job.verdict, "url": f"/v1/edits/{job.id}"}


def _body(event_type: str, data: Mapping[str, str | None], now: datetime) -> str:
    """Return the JSON of an `api_schemas.webhooks` message: exactly the bytes that are signed."""
    return json.dumps({"type": event_type, "timestamp": now.isoformat().replace("+00:00", "Z"), "data": dict(data)})
