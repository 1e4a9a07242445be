"""`client.previews`. `sync_previews.py` is generated from it by `generate_sync_client.py`."""

import asyncio
import uuid
from collections.abc import AsyncIterator

from api_schemas.client.async_connection import AsyncConnection
from api_schemas.client.transport import raise_for_problem, raise_unless_succeeded
from api_schemas.features import FeatureKind
from api_schemas.jobs import TERMINAL_STATUSES, Page
from api_schemas.previews import Preview, PreviewRequest, SteeringRequest

POLL_SECONDS = 0.5


class AsyncPreviews:
    """Images of a prompt by a base model, and by an edit of it or with features steered."""

    def __init__(self, client: AsyncConnection) -> None:
        self._client = client

    async def create(self, edit_id: str, request: PreviewRequest, *, idempotency_key: str | None = None) -> Preview:
        """Queue a preview of an edit. A repeated call with the same key returns the same preview."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        body = request.model_dump(mode="json")
        return await self._client.request(Preview, "POST", f"/v1/edits/{edit_id}/previews", json=body, headers=headers)

    async def steer(
        self, model_id: str, kind: FeatureKind, request: SteeringRequest, *, idempotency_key: str | None = None
    ) -> Preview:
        """Queue a preview of steered features of a model. A repeated call with the same key returns the same preview."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        path, body = f"/v1/models/{model_id}/autoencoders/{kind}/previews", request.model_dump(mode="json")
        return await self._client.request(Preview, "POST", path, json=body, headers=headers)

    async def list(self, edit_id: str) -> AsyncIterator[Preview]:
        """Iterate over the previews of an edit, newest first."""
        async for preview in self._client.paginate(Page[Preview], f"/v1/edits/{edit_id}/previews", {}):
            yield preview

    async def list_steered(self, model_id: str, kind: FeatureKind) -> AsyncIterator[Preview]:
        """Iterate over the previews of steered features of a model, newest first."""
        path = f"/v1/models/{model_id}/autoencoders/{kind}/previews"
        async for preview in self._client.paginate(Page[Preview], path, {}):
            yield preview

    async def refresh(self, preview: Preview) -> Preview:
        """Return the current state of a preview."""
        return await self._client.request(Preview, "GET", preview.urls.self)

    async def wait(self, preview: Preview) -> Preview:
        """Return the preview when it has ended. Raises `JobFailed` unless it succeeded."""
        while preview.status not in TERMINAL_STATUSES:
            await asyncio.sleep(POLL_SECONDS)
            preview = await self.refresh(preview)
        raise_unless_succeeded(preview)
        return preview

    async def cancel(self, preview: Preview) -> Preview:
        """Request cancellation. Has no effect if the job has ended."""
        return await self._client.request(Preview, "POST", preview.urls.cancel)

    async def image(self, path: str) -> bytes:
        """Return an image, such as `preview.images[0].after`, as PNG."""
        response = await self._client.send("GET", path, follow_redirects=True)
        raise_for_problem(response)
        return response.content
