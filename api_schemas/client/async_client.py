"""The asynchronous client. `sync_client.py` is generated from it by `generate_sync_client.py`."""

import uuid
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import httpx
from pydantic import PrivateAttr

from api_schemas.attestation import PublicKeys
from api_schemas.batches import Batch, BatchItem, BatchRequest
from api_schemas.client.async_cases import AsyncCases
from api_schemas.client.async_connection import AsyncConnection
from api_schemas.client.async_fleets import AsyncFleets
from api_schemas.client.async_models import AsyncModels
from api_schemas.client.async_previews import AsyncPreviews
from api_schemas.client.transport import (
    DEFAULT_URL,
    raise_for_problem,
    raise_unless_succeeded,
)
from api_schemas.edits import EditRequest
from api_schemas.events import Event
from api_schemas.jobs import Artifact, Edit, Page
from api_schemas.plans import Plan
from api_schemas.report import AuditReport
from api_schemas.samples import Sample
from api_schemas.webhooks import WebhookDelivery, WebhookEndpoint, WebhookEndpointRequest, WebhookEndpointUpdate


class AsyncClient(AsyncConnection):
    """Client of one service with one API key. `transport` replaces httpx's, for tests."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        api_key: str = "",
        *,
        timeout: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(url, api_key, timeout=timeout, transport=transport)
        self.edits = AsyncEdits(self)
        self.previews = AsyncPreviews(self)
        self.batches = AsyncBatches(self)
        self.cases = AsyncCases(self)
        self.models = AsyncModels(self)
        self.fleets = AsyncFleets(self)
        self.webhooks = AsyncWebhooks(self)

    async def signing_keys(self) -> PublicKeys:
        """Return the public keys that reports are signed with."""
        return await self.request(PublicKeys, "GET", "/v1/signing_keys")


class AsyncEdits:
    """`client.edits`."""

    def __init__(self, client: AsyncConnection) -> None:
        self._client = client

    async def create(self, request: EditRequest, *, idempotency_key: str | None = None) -> "AsyncEditJob":
        """Queue a removal. A repeated call with the same key returns the same job."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return await self._ask("POST", "/v1/edits", json=request.model_dump(mode="json"), headers=headers)

    async def validate(self, request: EditRequest) -> Plan:
        """Run a dry run. Nothing is edited."""
        body = request.model_dump(mode="json")
        return await self._client.request(Plan, "POST", "/v1/edits:validate", json=body, timeout=120.0)

    async def get(self, edit_id: str) -> "AsyncEditJob":
        """Return the current state of an edit."""
        return await self._ask("GET", f"/v1/edits/{edit_id}")

    async def list(self, **filters: Any) -> AsyncIterator["AsyncEditJob"]:
        """List edits, newest first. Filters: status, model, verdict, kind, request_digest, created_since, created_before."""
        async for edit in self._client.paginate(Page[AsyncEditJob], "/v1/edits", filters):
            yield self._bound(edit)

    async def cancel(self, edit_id: str) -> "AsyncEditJob":
        """Request cancellation. Has no effect if the job has ended."""
        return await self._ask("POST", f"/v1/edits/{edit_id}/cancel")

    async def revoke(self, edit_id: str) -> "AsyncEditJob":
        """Create a job that removes the edit from its ledger."""
        return await self._ask("POST", f"/v1/edits/{edit_id}/revoke", headers={"Idempotency-Key": str(uuid.uuid4())})

    async def events(self, edit_id: str, after: int = 0) -> AsyncIterator[Event]:
        """Iterate over the events so far, oldest first."""
        path = f"/v1/edits/{edit_id}/events"
        async for event in self._client.paginate(Page[Event], path, {"limit": 1000, "after": after}):
            yield event

    async def follow(self, edit_id: str, after: int = 0) -> AsyncIterator[Event]:
        """Follow the events from `after` to the last one, each once and in order. Reconnects if the connection is lost."""
        async for event in self._client.follow(f"/v1/edits/{edit_id}/stream", after):
            yield event

    async def download(self, artifact: Artifact, folder: Path) -> Path:
        """Download a file to `folder`, atomically and with resumption. Raises `DownloadCorrupted`."""
        return await self._client.download(artifact, folder)

    async def samples(self, edit_id: str) -> Sequence[Sample]:
        """Return the newest images of a running validation, newest first. They are deleted when the job ends."""
        return (await self._client.request(Page[Sample], "GET", f"/v1/edits/{edit_id}/samples")).data

    async def image(self, path: str) -> bytes:
        """Return an image, such as `samples[0].after`, as WebP."""
        response = await self._client.send("GET", path)
        raise_for_problem(response)
        return response.content

    async def report(self, edit_id: str) -> AuditReport:
        """Return the audit report."""
        return await self._client.request(AuditReport, "GET", f"/v1/edits/{edit_id}/report.json")

    async def _ask(self, method: str, path: str, **options: Any) -> "AsyncEditJob":
        return self._bound(await self._client.request(AsyncEditJob, method, path, **options))

    def _bound(self, edit: "AsyncEditJob") -> "AsyncEditJob":
        edit._edits = self
        return edit


class AsyncEditJob(Edit):
    """An edit at the time of the request, with methods to act on it."""

    _edits: AsyncEdits = PrivateAttr()

    async def refresh(self) -> "AsyncEditJob":
        """Return the current state of the edit."""
        return await self._edits.get(self.id)

    async def wait(self, on_event: Callable[[Event], None] = lambda event: None) -> "AsyncEditJob":
        """Follow the job to its end and return its final state. Raises `JobFailed` unless it succeeded."""
        async for event in self.events():
            on_event(event)
        edit = await self.refresh()
        raise_unless_succeeded(edit)
        return edit

    async def events(self, after: int = 0) -> AsyncIterator[Event]:
        """Follow the events from the first to the last, each once."""
        async for event in self._edits.follow(self.id, after):
            yield event

    async def cancel(self) -> "AsyncEditJob":
        """Request cancellation."""
        return await self._edits.cancel(self.id)

    async def revoke(self) -> "AsyncEditJob":
        """Create a job that removes the edit from its ledger."""
        return await self._edits.revoke(self.id)

    async def download(self, folder: Path, without: Collection[str] = ()) -> Sequence[Path]:
        """Download the files to `folder`, except those of the kinds in `without`."""
        selected = [artifact for artifact in self.artifacts if artifact.kind not in without]
        return [await self._edits.download(artifact, folder) for artifact in selected]

    async def report(self) -> AuditReport:
        """Return the audit report."""
        return await self._edits.report(self.id)


class AsyncBatches:
    """`client.batches`."""

    def __init__(self, client: AsyncConnection) -> None:
        self._client = client

    async def create(self, request: BatchRequest, *, idempotency_key: str | None = None) -> Batch:
        """Queue one edit for up to a thousand removals."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        body = request.model_dump(mode="json")
        return await self._client.request(Batch, "POST", "/v1/batches", json=body, headers=headers)

    async def upload(self, csv: bytes, model: str = "emoji", *, idempotency_key: str | None = None) -> Batch:
        """Queue one edit for the removals of a CSV file."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4()), "Content-Type": "text/csv"}
        options = {"content": csv, "params": {"model": model}, "headers": headers}
        return await self._client.request(Batch, "POST", "/v1/batches", **options)

    async def get(self, batch_id: str) -> Batch:
        """Return the current state of a batch."""
        return await self._client.request(Batch, "GET", f"/v1/batches/{batch_id}")

    async def list(self) -> AsyncIterator[Batch]:
        """Iterate over batches, newest first."""
        async for batch in self._client.paginate(Page[Batch], "/v1/batches", {}):
            yield batch

    async def items(self, batch_id: str) -> AsyncIterator[BatchItem]:
        """Iterate over the items of a batch, in the order in which they were sent."""
        async for item in self._client.paginate(Page[BatchItem], f"/v1/batches/{batch_id}/items", {"limit": 1000}):
            yield item


class AsyncWebhooks:
    """`client.webhooks`."""

    def __init__(self, client: AsyncConnection) -> None:
        self._client = client

    async def create(self, request: WebhookEndpointRequest) -> WebhookEndpoint:
        """Add a webhook endpoint. Only this response contains its secret."""
        body = request.model_dump(mode="json")
        return await self._client.request(WebhookEndpoint, "POST", "/v1/webhook_endpoints", json=body)

    async def list(self) -> AsyncIterator[WebhookEndpoint]:
        """Iterate over the webhook endpoints."""
        async for endpoint in self._client.paginate(Page[WebhookEndpoint], "/v1/webhook_endpoints", {}):
            yield endpoint

    async def update(self, endpoint_id: str, request: WebhookEndpointUpdate) -> WebhookEndpoint:
        """Change the fields that the request sets; `enabled=True` enables an endpoint again."""
        body = request.model_dump(mode="json", exclude_none=True)
        return await self._client.request(WebhookEndpoint, "PATCH", f"/v1/webhook_endpoints/{endpoint_id}", json=body)

    async def test(self, endpoint_id: str) -> WebhookDelivery:
        """Send a test message; `deliveries` lists the attempt."""
        return await self._client.request(WebhookDelivery, "POST", f"/v1/webhook_endpoints/{endpoint_id}/test")

    async def delete(self, endpoint_id: str) -> None:
        """Delete a webhook endpoint."""
        raise_for_problem(await self._client.send("DELETE", f"/v1/webhook_endpoints/{endpoint_id}"))

    async def deliveries(self, endpoint_id: str) -> AsyncIterator[WebhookDelivery]:
        """Iterate over the deliveries to an endpoint, newest first."""
        path = f"/v1/webhook_endpoints/{endpoint_id}/deliveries"
        async for delivery in self._client.paginate(Page[WebhookDelivery], path, {}):
            yield delivery

    async def redeliver(self, endpoint_id: str, delivery_id: str) -> WebhookDelivery:
        """Deliver a message again."""
        path = f"/v1/webhook_endpoints/{endpoint_id}/deliveries/{delivery_id}/redeliver"
        return await self._client.request(WebhookDelivery, "POST", path)
