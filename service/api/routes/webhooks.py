"""Who is told what happens to edits: endpoints, what was delivered to them, and delivering again."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from sqlalchemy.orm import Session

from api_schemas.jobs import Page
from api_schemas.webhooks import WebhookDelivery, WebhookEndpoint, WebhookEndpointRequest
from service.api.auth import ReadsWebhooks, WritesWebhooks
from service.core import serializers
from service.core.app_state import Backend, BackendDep
from service.core.caller import Caller
from service.errors import NotFound
from service.store import audit, orm, webhooks
from service.store.ids import DELIVERY_ID
from service.webhooks.signing import Signer
from service.webhooks.ssrf_guard import checked_url

router = APIRouter(prefix="/v1/webhook_endpoints", tags=["webhooks"])

EndpointId = Annotated[str, Path(description="As `POST /v1/webhook_endpoints` returned it.")]
DeliveryId = Annotated[str, Path(description="The `webhook-id` of the message.")]


@router.post("", status_code=201, summary="Add a receiver")
def create(body: WebhookEndpointRequest, backend: BackendDep, caller: WritesWebhooks) -> WebhookEndpoint:
    """Its secret is told in this reply, and never again."""
    checked_url(body.url, backend.settings.webhook_allowed_hosts)
    signer, now = Signer.new(), backend.clock()
    sealed = signer.sealed(backend.settings.secret_box())
    with backend.database.write() as session:
        row = webhooks.add(session, caller.tenant, now=now, **body.model_dump(), **sealed)
        _note(session, caller, "webhook.create", row.id, backend)
    return serializers.webhook_endpoint(row).model_copy(update={"secret": signer.secret})


@router.get("", summary="List the receivers")
def list_endpoints(backend: BackendDep, caller: ReadsWebhooks) -> Page[WebhookEndpoint]:
    """All of them, oldest first."""
    with backend.database.read() as session:
        rows = webhooks.endpoints(session, caller.tenant)
    return Page[WebhookEndpoint](data=[serializers.webhook_endpoint(row) for row in rows])


@router.get("/{endpoint_id}", summary="Read a receiver")
def read(endpoint_id: EndpointId, backend: BackendDep, caller: ReadsWebhooks) -> WebhookEndpoint:
    """One of them, without its secret."""
    with backend.database.read() as session:
        return serializers.webhook_endpoint(_endpoint(session, caller, endpoint_id))


@router.delete("/{endpoint_id}", status_code=204, response_class=Response, summary="Remove a receiver")
def delete(endpoint_id: EndpointId, backend: BackendDep, caller: WritesWebhooks) -> None:
    """It is told nothing more, not even what is due."""
    with backend.database.write() as session:
        webhooks.remove(session, _endpoint(session, caller, endpoint_id), now=backend.clock())
        _note(session, caller, "webhook.delete", endpoint_id, backend)


@router.get("/{endpoint_id}/deliveries", summary="What was delivered, newest first")
def list_deliveries(
    endpoint_id: EndpointId,
    backend: BackendDep,
    caller: ReadsWebhooks,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(pattern=DELIVERY_ID, description="`next_cursor` of the last page.")] = None,
) -> Page[WebhookDelivery]:
    """One page, with every attempt."""
    with backend.database.read() as session:
        _endpoint(session, caller, endpoint_id)
        rows = webhooks.deliveries(session, endpoint_id, after=after, limit=limit + 1)
    return serializers.page([serializers.webhook_delivery(row) for row in rows], limit, lambda delivery: delivery.id)


@router.post("/{endpoint_id}/deliveries/{delivery_id}/redeliver", status_code=202, summary="Deliver again")
def redeliver(
    endpoint_id: EndpointId, delivery_id: DeliveryId, backend: BackendDep, caller: WritesWebhooks
) -> WebhookDelivery:
    """The same message under the same id, as soon as may be; then by the table again, should it fail."""
    with backend.database.write() as session:
        _endpoint(session, caller, endpoint_id)
        row = webhooks.delivery(session, endpoint_id, delivery_id)
        if row is None:
            raise NotFound(f'there is no delivery "{delivery_id}".', remedy="GET …/deliveries lists them.")
        webhooks.redeliver(session, row, now=backend.clock())
        _note(session, caller, "webhook.redeliver", delivery_id, backend)
        return serializers.webhook_delivery(row)


def _endpoint(session: Session, caller: Caller, endpoint_id: str) -> orm.WebhookEndpoint:
    found = webhooks.endpoint(session, caller.tenant, endpoint_id)
    if found is None:
        raise NotFound(
            f'there is no webhook endpoint "{endpoint_id}".', remedy="GET /v1/webhook_endpoints lists yours."
        )
    return found


def _note(session: Session, caller: Caller, action: str, target: str, backend: Backend) -> None:
    audit.record(session, caller.tenant, caller.key_id, action, target, now=backend.clock())
