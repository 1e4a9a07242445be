"""Webhook endpoints, their messages and deliveries (Standard Webhooks 1.0.0)."""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import AfterValidator, Field, StringConstraints

from api_schemas.base import Request, Resource, normalize_text
from api_schemas.jobs import ModelStatus

WebhookEvent: TypeAlias = Literal[
    "edit.queued",
    "edit.running",
    "edit.canceling",
    "edit.succeeded",
    "edit.failed",
    "edit.canceled",
    "edit.expired",
    "case.incomplete",
    "case.open",
    "case.decided",
    "case.applying",
    "case.at_risk",
    "case.in_force",
    "case.contested",
    "case.restored",
    "case.refused",
    "case.closed",
    "case.withdrawn",
    "case.void",
    "case.merged",
    "case.deadline_missed",
    "model.admitted",
    "model.quarantined",
    "model.refused",
]
EVENTS: tuple[WebhookEvent, ...] = get_args(WebhookEvent)
TERMINAL_EVENTS: tuple[WebhookEvent, ...] = ("edit.succeeded", "edit.failed", "edit.canceled", "edit.expired")

TestEvent: TypeAlias = Literal["endpoint.test"]

DeliveryStatus: TypeAlias = Literal["pending", "delivered", "failed"]

Description = Annotated[str, StringConstraints(max_length=200), AfterValidator(normalize_text)]


ReceiverUrl = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2000,
        description="URL to POST to: https, on the public internet.",
        examples=["https://desk.example/expunge"],
    ),
]
SubscribedEvents = Annotated[
    list[WebhookEvent], Field(min_length=1, max_length=len(EVENTS), description="Events to send.")
]


class WebhookEndpointRequest(Request):
    """The body of `POST /v1/webhook_endpoints`."""

    url: ReceiverUrl
    events: SubscribedEvents = Field(default=list(TERMINAL_EVENTS))
    description: Description = Field(default="", description="Your own note.")


class WebhookEndpointUpdate(Request):
    """The body of `PATCH /v1/webhook_endpoints/{endpoint_id}`. Fields that are missing or null stay as they are."""

    url: ReceiverUrl | None = None
    events: SubscribedEvents | None = None
    description: Description | None = Field(default=None, description="Your own note.")
    enabled: bool | None = Field(
        default=None, description="`true` enables the endpoint again; `false` disables it, which stops all messages."
    )


class WebhookEndpoint(Resource):
    """A webhook endpoint.

    Messages have two signatures: `v1` with the shared secret, `v1a` with the private key of `public_key`.
    """

    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    id: str
    url: str
    events: list[WebhookEvent]
    description: str
    created_at: datetime
    disabled_at: datetime | None = Field(
        description="Set when the endpoint answered 410 or was disabled, which stops all messages."
    )
    public_key: str = Field(description="`whpk_…`, verifies `v1a` signatures.")
    secret: str | None = Field(
        default=None, description="`whsec_…`, verifies `v1` signatures. Returned only when the endpoint is created."
    )


class WebhookAttempt(Resource):
    """An attempt to deliver a message."""

    at: datetime
    status_code: int | None = Field(description="Status of the response; null: there was none.")
    error: str | None = Field(description="Why there was no response, or why no request was sent.")
    seconds: float = Field(description="Duration of the attempt.")
    reply: str = Field(description="The beginning of the response body.")


class WebhookDelivery(Resource):
    """A message to an endpoint, with the attempts to deliver it."""

    object: Literal["webhook_delivery"] = "webhook_delivery"
    id: str = Field(description="The `webhook-id` of every attempt, for detecting duplicates.")
    endpoint: str
    type: WebhookEvent | TestEvent
    edit: str | None = Field(description="The edit that the message is about.")
    case: str | None = Field(description="The case that the message is about.")
    model: str | None = Field(default=None, description="The model that the message is about.")
    status: DeliveryStatus
    created_at: datetime
    next_attempt_at: datetime | None = Field(description="Null once the message is delivered or abandoned.")
    attempts: list[WebhookAttempt]


class EditNews(Resource):
    """The status of an edit, without the concepts. `url` has the details, for callers with access."""

    id: str
    status: str
    verdict: str | None
    url: str


class WebhookMessage(Resource):
    """The body of a webhook message. Its headers are `webhook-id`, `webhook-timestamp` and `webhook-signature`."""

    type: WebhookEvent
    timestamp: datetime = Field(description="Time of the event.")
    data: EditNews


class CaseNews(Resource):
    """The state of a case, without personal data. `url` has the details, for callers with access."""

    id: str
    reference: str
    state: str
    url: str


class CaseWebhookMessage(Resource):
    """The body of a message about a case: its new state, or a missed deadline."""

    type: WebhookEvent
    timestamp: datetime = Field(description="Time of the event.")
    data: CaseNews


class ModelNews(Resource):
    """The status of a base model for your tenant. `url` has the details, for callers with access."""

    id: str
    status: ModelStatus
    url: str


class ModelWebhookMessage(Resource):
    """The body of a message about a model: it was admitted, put into quarantine, or refused."""

    type: WebhookEvent
    timestamp: datetime = Field(description="Time of the event.")
    data: ModelNews


class EndpointNews(Resource):
    """The endpoint that is tested."""

    id: str
    url: str


class WebhookTestMessage(Resource):
    """The body of a test message. It is sent once, also to an endpoint that is disabled or has not subscribed to anything."""

    type: TestEvent
    timestamp: datetime = Field(description="Time of the request for it.")
    data: EndpointNews
