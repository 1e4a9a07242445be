"""Webhook endpoints and their deliveries."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from sqlalchemy.orm import Session

from api_schemas.jobs import Page
from api_schemas.webhooks import WebhookDelivery, WebhookEndpoint, WebhookEndpointRequest, WebhookEndpointUpdate
from service.api.auth import ReadsWebhooks, WritesWebhooks
from service.api.dependencies import AppStateDep
from service.api.paging import PageLimit
from service.api.strict_json import StrictJsonRoute
from service.core import serializers
from service.core.app_state import AppState
from service.core.caller import Caller
from service.errors import TooManyWebhookEndpoints, found
from service.store import audit, orm, webhooks
from service.store.ids import DELIVERY_ID
from service.webhooks.signing import WebhookSigner
from service.webhooks.ssrf_guard import validate_url

router = APIRouter(prefix="/v1/webhook_endpoints", tags=["webhooks"], route_class=StrictJsonRoute)

EndpointId = Annotated[str, Path(description="The id that `POST /v1/webhook_endpoints` returned.")]
DeliveryId = Annotated[str, Path(description="The `webhook-id` of the message.")]


@router.post("", status_code=201, summary="Create a webhook endpoint")
def create(body: WebhookEndpointRequest, app_state: AppStateDep, caller: WritesWebhooks) -> WebhookEndpoint:
    """Create an endpoint. Its secret is returned in this response only."""
    validate_url(body.url, app_state.settings.webhook_allowed_hosts)
    signer, now = WebhookSigner.new(), app_state.clock()
    sealed = signer.sealed_columns(app_state.settings.secret_box())
    with app_state.database.write() as session:
        _check_quota(session, caller, app_state.settings.max_webhook_endpoints)
        row = webhooks.add_endpoint(session, caller.tenant, now=now, **body.model_dump(), **sealed)
        _record_audit(session, caller, "webhook.create", row.id, app_state)
    return serializers.webhook_endpoint(row).model_copy(update={"secret": signer.secret})


@router.get("", summary="List the webhook endpoints")
def list_endpoints(app_state: AppStateDep, caller: ReadsWebhooks) -> Page[WebhookEndpoint]:
    """Return all endpoints, oldest first."""
    with app_state.database.read() as session:
        rows = webhooks.list_endpoints(session, caller.tenant)
    return Page[WebhookEndpoint](data=[serializers.webhook_endpoint(row) for row in rows])


@router.get("/{endpoint_id}", summary="Read a webhook endpoint")
def read(endpoint_id: EndpointId, app_state: AppStateDep, caller: ReadsWebhooks) -> WebhookEndpoint:
    """Return an endpoint without its secret."""
    with app_state.database.read() as session:
        return serializers.webhook_endpoint(_get_endpoint(session, caller, endpoint_id))


@router.patch("/{endpoint_id}", summary="Change a webhook endpoint")
def update(
    endpoint_id: EndpointId, body: WebhookEndpointUpdate, app_state: AppStateDep, caller: WritesWebhooks
) -> WebhookEndpoint:
    """Change the URL, the events or the description, disable the endpoint, or enable it again. Its keys stay the same."""
    if body.url is not None:
        validate_url(body.url, app_state.settings.webhook_allowed_hosts)
    with app_state.database.write() as session:
        row = _get_endpoint(session, caller, endpoint_id)
        fields = body.model_dump(exclude={"enabled"}, exclude_none=True)
        webhooks.update_endpoint(session, row, enabled=body.enabled, now=app_state.clock(), **fields)
        _record_audit(session, caller, "webhook.update", endpoint_id, app_state)
        return serializers.webhook_endpoint(row)


@router.post("/{endpoint_id}/test", status_code=202, summary="Test a webhook endpoint")
def test(endpoint_id: EndpointId, app_state: AppStateDep, caller: WritesWebhooks) -> WebhookDelivery:
    """Send a message of type `endpoint.test` once, also to a disabled endpoint. The endpoint's deliveries list the attempt."""
    with app_state.database.write() as session:
        row = webhooks.enqueue_test(session, _get_endpoint(session, caller, endpoint_id), now=app_state.clock())
        _record_audit(session, caller, "webhook.test", endpoint_id, app_state)
        return serializers.webhook_delivery(row)


@router.delete("/{endpoint_id}", status_code=204, response_class=Response, summary="Delete a webhook endpoint")
def delete(endpoint_id: EndpointId, app_state: AppStateDep, caller: WritesWebhooks) -> None:
    """Delete an endpoint. Messages that are due are not delivered any more."""
    with app_state.database.write() as session:
        webhooks.remove_endpoint(session, _get_endpoint(session, caller, endpoint_id), now=app_state.clock())
        _record_audit(session, caller, "webhook.delete", endpoint_id, app_state)


@router.get("/{endpoint_id}/deliveries", summary="List deliveries, newest first")
def list_deliveries(
    endpoint_id: EndpointId,
    app_state: AppStateDep,
    caller: ReadsWebhooks,
    limit: PageLimit = 20,
    after: Annotated[str | None, Query(pattern=DELIVERY_ID, description="`next_cursor` of the previous page.")] = None,
) -> Page[WebhookDelivery]:
    """Return a page of messages with their delivery attempts."""
    with app_state.database.read() as session:
        _get_endpoint(session, caller, endpoint_id)
        rows = webhooks.list_deliveries(session, endpoint_id, after=after, limit=limit + 1)
    return serializers.page([serializers.webhook_delivery(row) for row in rows], limit, lambda delivery: delivery.id)


@router.post("/{endpoint_id}/deliveries/{delivery_id}/redeliver", status_code=202, summary="Redeliver a message")
def redeliver(
    endpoint_id: EndpointId, delivery_id: DeliveryId, app_state: AppStateDep, caller: WritesWebhooks
) -> WebhookDelivery:
    """Send the same message with the same id again, as soon as possible. If that fails, the retry schedule starts over."""
    with app_state.database.write() as session:
        _get_endpoint(session, caller, endpoint_id)
        listed_at = f"/v1/webhook_endpoints/{endpoint_id}/deliveries"
        row = found(webhooks.get_delivery(session, endpoint_id, delivery_id), "delivery", delivery_id, listed_at)
        webhooks.redeliver(session, row, now=app_state.clock())
        _record_audit(session, caller, "webhook.redeliver", delivery_id, app_state)
        return serializers.webhook_delivery(row)


def _check_quota(session: Session, caller: Caller, limit: int) -> None:
    """Raise `TooManyWebhookEndpoints` if the tenant has as many endpoints as it may have."""
    if 0 < limit <= len(webhooks.list_endpoints(session, caller.tenant)):
        raise TooManyWebhookEndpoints(
            f"You have {limit} webhook endpoints, which is the limit.",
            remedy="Delete an endpoint that you do not need.",
        )


def _get_endpoint(session: Session, caller: Caller, endpoint_id: str) -> orm.WebhookEndpoint:
    row = webhooks.get_endpoint(session, caller.tenant, endpoint_id)
    return found(row, "webhook endpoint", endpoint_id, "/v1/webhook_endpoints")


def _record_audit(session: Session, caller: Caller, action: str, target: str, app_state: AppState) -> None:
    audit.record(session, caller.tenant, caller.key_id, action, target, now=app_state.clock())
