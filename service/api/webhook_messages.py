"""The messages that the service sends to webhook endpoints, for the OpenAPI document."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Response

from api_schemas.webhooks import CaseWebhookMessage, ModelWebhookMessage, WebhookMessage, WebhookTestMessage

router = APIRouter(tags=["webhook_messages"])  # not `webhooks`, the routes: generators make one class of each tag

RESPONSES: dict[int | str, dict[str, Any]] = {
    "2XX": {"description": "Received. The body is ignored."},
    410: {"description": "Send no more messages. The service disables the endpoint."},
    "4XX": {"description": "Not received. The message is sent again later."},
    "5XX": {"description": "Not received. The message is sent again later."},
}
MessageId = Annotated[str, Header(description="Id of the message, the same in every attempt.")]
MessageTimestamp = Annotated[str, Header(description="Time of the attempt, in seconds since 1970.")]
MessageSignature = Annotated[
    str, Header(description="`v1` and `v1a` signatures of Standard Webhooks, separated by a space.")
]


@router.post(
    "edit",
    status_code=204,
    response_class=Response,
    responses=RESPONSES,
    operation_id="webhook_messages_edit",
    summary="The status of an edit changed",
)
def edit(
    body: WebhookMessage,
    webhook_id: MessageId,
    webhook_timestamp: MessageTimestamp,
    webhook_signature: MessageSignature,
) -> None:
    """Sent to each endpoint that subscribed to the event. Respond within 15 seconds; failed attempts are repeated."""


@router.post(
    "case",
    status_code=204,
    response_class=Response,
    responses=RESPONSES,
    operation_id="webhook_messages_case",
    summary="The state of a case changed",
)
def case(
    body: CaseWebhookMessage,
    webhook_id: MessageId,
    webhook_timestamp: MessageTimestamp,
    webhook_signature: MessageSignature,
) -> None:
    """Sent to each endpoint that subscribed to the event. Respond within 15 seconds; failed attempts are repeated."""


@router.post(
    "model",
    status_code=204,
    response_class=Response,
    responses=RESPONSES,
    operation_id="webhook_messages_model",
    summary="The status of a model changed",
)
def model(
    body: ModelWebhookMessage,
    webhook_id: MessageId,
    webhook_timestamp: MessageTimestamp,
    webhook_signature: MessageSignature,
) -> None:
    """Sent to each endpoint that subscribed to the event. Respond within 15 seconds; failed attempts are repeated."""


@router.post(
    "endpoint_test",
    status_code=204,
    response_class=Response,
    responses=RESPONSES,
    operation_id="webhook_messages_endpoint_test",
    summary="An endpoint is tested",
)
def endpoint_test(
    body: WebhookTestMessage,
    webhook_id: MessageId,
    webhook_timestamp: MessageTimestamp,
    webhook_signature: MessageSignature,
) -> None:
    """Sent once to an endpoint for `POST /v1/webhook_endpoints/{endpoint_id}/test`. Respond within 15 seconds."""
