"""Webhooks: who is told what happens to edits, and what came of telling them (Standard Webhooks 1.0.0)."""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import AfterValidator, Field, StringConstraints

from api_schemas.base import Request, Resource, normalize_text

WebhookEvent: TypeAlias = Literal[
    "edit.queued", "edit.running", "edit.canceling", "edit.succeeded", "edit.failed", "edit.canceled", "edit.expired"
]
EVENTS: tuple[WebhookEvent, ...] = get_args(WebhookEvent)
TERMINAL_EVENTS: tuple[WebhookEvent, ...] = ("edit.succeeded", "edit.failed", "edit.canceled", "edit.expired")

DeliveryStatus: TypeAlias = Literal["pending", "delivered", "failed"]

Description = Annotated[str, StringConstraints(max_length=200), AfterValidator(normalize_text)]


class WebhookEndpointRequest(Request):
    """The body of `POST /v1/webhook_endpoints`."""

    url: str = Field(
        min_length=1,
        max_length=2000,
        description="Where to POST: https, on the public internet.",
        examples=["https://desk.example/expunge"],
    )
    events: list[WebhookEvent] = Field(
        default=list(TERMINAL_EVENTS), min_length=1, max_length=len(EVENTS), description="What to be told."
    )
    description: Description = Field(default="", description="Your own note.")


class WebhookEndpoint(Resource):
    """A receiver. Messages are signed twice: `v1` with the shared secret, `v1a` with a key whose public half is here."""

    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    id: str
    url: str
    events: list[WebhookEvent]
    description: str
    created_at: datetime
    disabled_at: datetime | None = Field(description="Set when the receiver answered 410: it wants no more.")
    public_key: str = Field(description="`whpk_…`: checks `v1a` signatures.")
    secret: str | None = Field(
        default=None, description="`whsec_…`: checks `v1` signatures. Told once, when the endpoint is made."
    )


class WebhookAttempt(Resource):
    """One try to deliver a message."""

    at: datetime
    status_code: int | None = Field(description="What the receiver answered; null: nothing.")
    error: str | None = Field(description="Why nothing was answered, or why we did not ask.")
    seconds: float = Field(description="How long it took.")
    reply: str = Field(description="The beginning of the answer.")


class WebhookDelivery(Resource):
    """A message to an endpoint, and all attempts at delivering it."""

    object: Literal["webhook_delivery"] = "webhook_delivery"
    id: str = Field(description="The `webhook-id` of every attempt: a receiver that knows it has the message already.")
    endpoint: str
    type: WebhookEvent
    edit: str
    status: DeliveryStatus
    created_at: datetime
    next_attempt_at: datetime | None = Field(description="Null once it is delivered, or given up.")
    attempts: list[WebhookAttempt]


class EditNews(Resource):
    """What a message says about an edit: how it stands, not what it removes. `url` has the rest, for whoever may read it."""

    id: str
    status: str
    verdict: str | None
    url: str


class WebhookMessage(Resource):
    """The body that a receiver gets. Its headers: `webhook-id`, `webhook-timestamp`, `webhook-signature`."""

    type: WebhookEvent
    timestamp: datetime = Field(description="When it happened.")
    data: EditNews
