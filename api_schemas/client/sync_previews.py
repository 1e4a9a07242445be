"""The synchronous previews, generated from `async_previews.py` by `generate_sync_client.py`. Edit those instead."""

import time
import uuid
from collections.abc import Iterator

from api_schemas.client.sync_connection import Connection
from api_schemas.client.transport import raise_for_problem, raise_unless_succeeded
from api_schemas.features import FeatureKind
from api_schemas.jobs import TERMINAL_STATUSES, Page
from api_schemas.previews import Preview, PreviewRequest, SteeringRequest

POLL_SECONDS = 0.5


class Previews:
    """Images of a prompt by a base model, and by an edit of it or with features steered."""

    def __init__(self, client: Connection) -> None:
        self._client = client

    def create(self, edit_id: str, request: PreviewRequest, *, idempotency_key: str | None = None) -> Preview:
        """Queue a preview of an edit. A repeated call with the same key returns the same preview."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        body = request.model_dump(mode="json")
        return self._client.request(Preview, "POST", f"/v1/edits/{edit_id}/previews", json=body, headers=headers)

    def steer(
        self, model_id: str, kind: FeatureKind, request: SteeringRequest, *, idempotency_key: str | None = None
    ) -> Preview:
        """Queue a preview of steered features of a model. A repeated call with the same key returns the same preview."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        path, body = f"/v1/models/{model_id}/autoencoders/{kind}/previews", request.model_dump(mode="json")
        return self._client.request(Preview, "POST", path, json=body, headers=headers)

    def list(self, edit_id: str) -> Iterator[Preview]:
        """Iterate over the previews of an edit, newest first."""
        for preview in self._client.paginate(Page[Preview], f"/v1/edits/{edit_id}/previews", {}):
            yield preview

    def list_steered(self, model_id: str, kind: FeatureKind) -> Iterator[Preview]:
        """Iterate over the previews of steered features of a model, newest first."""
        path = f"/v1/models/{model_id}/autoencoders/{kind}/previews"
        for preview in self._client.paginate(Page[Preview], path, {}):
            yield preview

    def refresh(self, preview: Preview) -> Preview:
        """Return the current state of a preview."""
        return self._client.request(Preview, "GET", preview.urls.self)

    def wait(self, preview: Preview) -> Preview:
        """Return the preview when it has ended. Raises `JobFailed` unless it succeeded."""
        while preview.status not in TERMINAL_STATUSES:
            time.sleep(POLL_SECONDS)
            preview = self.refresh(preview)
        raise_unless_succeeded(preview)
        return preview

    def cancel(self, preview: Preview) -> Preview:
        """Request cancellation. Has no effect if the job has ended."""
        return self._client.request(Preview, "POST", preview.urls.cancel)

    def image(self, path: str) -> bytes:
        """Return an image, such as `preview.images[0].after`, as PNG."""
        response = self._client.send("GET", path, follow_redirects=True)
        raise_for_problem(response)
        return response.content
