"""One example of each resource of webhooks."""

from api_schemas.webhooks import (
    EditNews,
    EndpointNews,
    ModelNews,
    ModelWebhookMessage,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEndpointRequest,
    WebhookEndpointUpdate,
    WebhookMessage,
    WebhookTestMessage,
)
from service.api.example_values import DELIVERY_ID, EDIT_ID, ENDPOINT_ID, NOW

ATTEMPT = WebhookAttempt(at=NOW, status_code=204, error=None, seconds=0.083, reply="")

WEBHOOK_EXAMPLES = (
    WebhookEndpointRequest(url="https://desk.example/expunge"),
    WebhookEndpointUpdate(url="https://desk.example/hooks/expunge", enabled=True),
    WebhookEndpoint(
        id=ENDPOINT_ID,
        url="https://desk.example/expunge",
        events=["edit.succeeded", "edit.failed"],
        description="takedown desk",
        created_at=NOW,
        disabled_at=None,
        public_key="whpk_vTHbWWVZ4bKTkrrr8CZ3Nv5bJzkxkS5h3Iu0g9p0xDM=",
    ),
    WebhookDelivery(
        id=DELIVERY_ID,
        endpoint=ENDPOINT_ID,
        type="edit.succeeded",
        edit=EDIT_ID,
        case=None,
        model=None,
        status="delivered",
        created_at=NOW,
        next_attempt_at=None,
        attempts=[ATTEMPT],
    ),
    WebhookMessage(
        type="edit.succeeded",
        timestamp=NOW,
        data=EditNews(id=EDIT_ID, status="succeeded", verdict="passed", url=f"/v1/edits/{EDIT_ID}"),
    ),
    ModelWebhookMessage(
        type="model.quarantined",
        timestamp=NOW,
        data=ModelNews(id="sdxl-anime", status="quarantined", url="/v1/models/sdxl-anime"),
    ),
    WebhookTestMessage(
        type="endpoint.test",
        timestamp=NOW,
        data=EndpointNews(id=ENDPOINT_ID, url=f"/v1/webhook_endpoints/{ENDPOINT_ID}"),
    ),
)
