"""Administration of webhook endpoints, with the log of their deliveries."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from starlette.responses import RedirectResponse

from api_schemas.webhooks import EVENTS, TERMINAL_EVENTS, WebhookEndpoint, WebhookEndpointRequest, WebhookEndpointUpdate
from service.api.auth import ReadsWebhooks, WritesWebhooks
from service.api.dependencies import AppStateDep
from service.api.routes import webhooks
from service.api.routes.webhooks import DeliveryId, EndpointId
from service.core.app_state import AppState
from service.core.caller import Caller
from service.errors import ServiceError
from service.store.ids import DELIVERY_ID
from service.web import forms
from service.web.admin_sections import PAGE_SIZE, render_section
from service.web.forms import FormDep, FormFields

router = APIRouter(prefix="/admin")

NOTHING_SENT = FormFields({"events": list(TERMINAL_EVENTS)})


@router.get("/webhooks")
def list_webhooks(request: Request, app_state: AppStateDep, caller: ReadsWebhooks) -> Response:
    """Show the webhook endpoints, and the form for a new one."""
    return _webhooks_page(request, app_state, caller)


@router.post("/webhooks")
def create_webhook(
    request: Request,
    app_state: AppStateDep,
    caller: WritesWebhooks,
    form: FormDep,
) -> Response:
    """Create an endpoint, and show its secret this once."""
    sent = {"url": form.text("url"), "description": form.text("description"), "events": form.all("events")}
    try:
        created = webhooks.create(forms.parse(WebhookEndpointRequest, sent), app_state, caller)
    except ServiceError as error:
        return _webhooks_page(request, app_state, caller, form, error=error)
    return _webhooks_page(request, app_state, caller, created=created)


@router.get("/webhooks/{endpoint_id}")
def show_webhook(
    request: Request,
    endpoint_id: EndpointId,
    app_state: AppStateDep,
    caller: ReadsWebhooks,
    after: Annotated[str | None, Query(pattern=DELIVERY_ID)] = None,
) -> Response:
    """Show an endpoint and the log of its deliveries."""
    return render_section(
        request,
        "admin_webhook.html",
        endpoint=webhooks.read(endpoint_id, app_state, caller),
        deliveries=webhooks.list_deliveries(endpoint_id, app_state, caller, limit=PAGE_SIZE, after=after),
        can_write="webhooks:write" in caller.scopes,
    )


@router.post("/webhooks/{endpoint_id}/test")
def test_webhook(endpoint_id: EndpointId, app_state: AppStateDep, caller: WritesWebhooks) -> Response:
    """Send a test message."""
    webhooks.test(endpoint_id, app_state, caller)
    return _to_webhook(endpoint_id)


@router.post("/webhooks/{endpoint_id}/state")
def switch_webhook(
    endpoint_id: EndpointId, app_state: AppStateDep, caller: WritesWebhooks, enabled: Annotated[bool, Form()] = False
) -> Response:
    """Enable or disable an endpoint."""
    webhooks.update(endpoint_id, WebhookEndpointUpdate(enabled=enabled), app_state, caller)
    return _to_webhook(endpoint_id)


@router.post("/webhooks/{endpoint_id}/delete")
def delete_webhook(endpoint_id: EndpointId, app_state: AppStateDep, caller: WritesWebhooks) -> Response:
    """Delete an endpoint."""
    webhooks.delete(endpoint_id, app_state, caller)
    return RedirectResponse("/admin/webhooks", 303)


@router.post("/webhooks/{endpoint_id}/deliveries/{delivery_id}/redeliver")
def redeliver(
    endpoint_id: EndpointId, delivery_id: DeliveryId, app_state: AppStateDep, caller: WritesWebhooks
) -> Response:
    """Send a message again."""
    webhooks.redeliver(endpoint_id, delivery_id, app_state, caller)
    return _to_webhook(endpoint_id)


def _webhooks_page(
    request: Request,
    app_state: AppState,
    caller: Caller,
    form: FormFields = NOTHING_SENT,
    *,
    created: WebhookEndpoint | None = None,
    error: ServiceError | None = None,
) -> Response:
    return render_section(
        request,
        "admin_webhooks.html",
        status=error.status if error else 200,
        endpoints=webhooks.list_endpoints(app_state, caller).data,
        created=created,
        form=form,
        error=error,
        event_names=EVENTS,
        can_write="webhooks:write" in caller.scopes,
    )


def _to_webhook(endpoint_id: str) -> Response:
    return RedirectResponse(f"/admin/webhooks/{endpoint_id}", 303)
