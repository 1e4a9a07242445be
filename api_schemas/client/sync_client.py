"""The synchronous client, generated from `async_client.py` by `generate_sync_client.py`. Edit those instead."""

import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
from pydantic import PrivateAttr

from api_schemas.attestation import PublicKeys
from api_schemas.batches import Batch, BatchItem, BatchRequest
from api_schemas.client.sync_cases import Cases
from api_schemas.client.sync_connection import Connection
from api_schemas.client.sync_fleets import Fleets
from api_schemas.client.sync_models import Models
from api_schemas.client.sync_previews import Previews
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


class Client(Connection):
    """Client of one service with one API key. `transport` replaces httpx's, for tests."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        api_key: str = "",
        *,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(url, api_key, timeout=timeout, transport=transport)
        self.edits = Edits(self)
        self.previews = Previews(self)
        self.batches = Batches(self)
        self.cases = Cases(self)
        self.models = Models(self)
        self.fleets = Fleets(self)
        self.webhooks = Webhooks(self)

    def signing_keys(self) -> PublicKeys:
        """Return the public keys that reports are signed with."""
        return self.request(PublicKeys, "GET", "/v1/signing_keys")


class Edits:
    """`client.edits`."""

    def __init__(self, client: Connection) -> None:
        self._client = client

    def create(self, request: EditRequest, *, idempotency_key: str | None = None) -> "EditJob":
        """Queue a removal. A repeated call with the same key returns the same job."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return self._ask("POST", "/v1/edits", json=request.model_dump(mode="json"), headers=headers)

    def validate(self, request: EditRequest) -> Plan:
        """Run a dry run. Nothing is edited."""
        body = request.model_dump(mode="json")
        return self._client.request(Plan, "POST", "/v1/edits:validate", json=body, timeout=120.0)

    def get(self, edit_id: str) -> "EditJob":
        """Return the current state of an edit."""
        return self._ask("GET", f"/v1/edits/{edit_id}")

    def list(self, **filters: Any) -> Iterator["EditJob"]:
        """List edits, newest first. Filters: status, model, verdict, kind, request_digest, created_since, created_before."""
        for edit in self._client.paginate(Page[EditJob], "/v1/edits", filters):
            yield self._bound(edit)

    def cancel(self, edit_id: str) -> "EditJob":
        """Request cancellation. Has no effect if the job has ended."""
        return self._ask("POST", f"/v1/edits/{edit_id}/cancel")

    def revoke(self, edit_id: str) -> "EditJob":
        """Create a job that removes the edit from its ledger."""
        return self._ask("POST", f"/v1/edits/{edit_id}/revoke", headers={"Idempotency-Key": str(uuid.uuid4())})

    def events(self, edit_id: str, after: int = 0) -> Iterator[Event]:
        """Iterate over the events so far, oldest first."""
        path = f"/v1/edits/{edit_id}/events"
        for event in self._client.paginate(Page[Event], path, {"limit": 1000, "after": after}):
            yield event

    def follow(self, edit_id: str, after: int = 0) -> Iterator[Event]:
        """Follow the events from `after` to the last one, each once and in order. Reconnects if the connection is lost."""
        for event in self._client.follow(f"/v1/edits/{edit_id}/stream", after):
            yield event

    def download(self, artifact: Artifact, folder: Path) -> Path:
        """Download a file to `folder`, atomically and with resumption. Raises `DownloadCorrupted`."""
        return self._client.download(artifact, folder)

    def samples(self, edit_id: str) -> Sequence[Sample]:
        """Return the newest images of a running validation, newest first. They are deleted when the job ends."""
        return (self._client.request(Page[Sample], "GET", f"/v1/edits/{edit_id}/samples")).data

    def image(self, path: str) -> bytes:
        """Return an image, such as `samples[0].after`, as WebP."""
        response = self._client.send("GET", path)
        raise_for_problem(response)
        return response.content

    def report(self, edit_id: str) -> AuditReport:
        """Return the audit report."""
        return self._client.request(AuditReport, "GET", f"/v1/edits/{edit_id}/report.json")

    def _ask(self, method: str, path: str, **options: Any) -> "EditJob":
        return self._bound(self._client.request(EditJob, method, path, **options))

    def _bound(self, edit: "EditJob") -> "EditJob":
        edit._edits = self
        return edit


class EditJob(Edit):
    """An edit at the time of the request, with methods to act on it."""

    _edits: Edits = PrivateAttr()

    def refresh(self) -> "EditJob":
        """Return the current state of the edit."""
        return self._edits.get(self.id)

    def wait(self, on_event: Callable[[Event], None] = lambda event: None) -> "EditJob":
        """Follow the job to its end and return its final state. Raises `JobFailed` unless it succeeded."""
        for event in self.events():
            on_event(event)
        edit = self.refresh()
        raise_unless_succeeded(edit)
        return edit

    def events(self, after: int = 0) -> Iterator[Event]:
        """Follow the events from the first to the last, each once."""
        for event in self._edits.follow(self.id, after):
            yield event

    def cancel(self) -> "EditJob":
        """Request cancellation."""
        return self._edits.cancel(self.id)

    def revoke(self) -> "EditJob":
        """Create a job that removes the edit from its ledger."""
        return self._edits.revoke(self.id)

    def download(self, folder: Path, without: Collection[str] = ()) -> Sequence[Path]:
        """Download the files to `folder`, except those of the kinds in `without`."""
        selected = [artifact for artifact in self.artifacts if artifact.kind not in without]
        return [self._edits.download(artifact, folder) for artifact in selected]

    def report(self) -> AuditReport:
        """Return the audit report."""
        return self._edits.report(self.id)


class Batches:
    """`client.batches`."""

    def __init__(self, client: Connection) -> None:
        self._client = client

    def create(self, request: BatchRequest, *, idempotency_key: str | None = None) -> Batch:
        """Queue one edit for up to a thousand removals."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        body = request.model_dump(mode="json")
        return self._client.request(Batch, "POST", "/v1/batches", json=body, headers=headers)

    def upload(self, csv: bytes, model: str = "emoji", *, idempotency_key: str | None = None) -> Batch:
        """Queue one edit for the removals of a CSV file."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4()), "Content-Type": "text/csv"}
        options = {"content": csv, "params": {"model": model}, "headers": headers}
        return self._client.request(Batch, "POST", "/v1/batches", **options)

    def get(self, batch_id: str) -> Batch:
        """Return the current state of a batch."""
        return self._client.request(Batch, "GET", f"/v1/batches/{batch_id}")

    def list(self) -> Iterator[Batch]:
        """Iterate over batches, newest first."""
        for batch in self._client.paginate(Page[Batch], "/v1/batches", {}):
            yield batch

    def items(self, batch_id: str) -> Iterator[BatchItem]:
        """Iterate over the items of a batch, in the order in which they were sent."""
        for item in self._client.paginate(Page[BatchItem], f"/v1/batches/{batch_id}/items", {"limit": 1000}):
            yield item


class Webhooks:
    """`client.webhooks`."""

    def __init__(self, client: Connection) -> None:
        self._client = client

    def create(self, request: WebhookEndpointRequest) -> WebhookEndpoint:
        """Add a webhook endpoint. Only this response contains its secret."""
        body = request.model_dump(mode="json")
        return self._client.request(WebhookEndpoint, "POST", "/v1/webhook_endpoints", json=body)

    def list(self) -> Iterator[WebhookEndpoint]:
        """Iterate over the webhook endpoints."""
        for endpoint in self._client.paginate(Page[WebhookEndpoint], "/v1/webhook_endpoints", {}):
            yield endpoint

    def update(self, endpoint_id: str, request: WebhookEndpointUpdate) -> WebhookEndpoint:
        """Change the fields that the request sets; `enabled=True` enables an endpoint again."""
        body = request.model_dump(mode="json", exclude_none=True)
        return self._client.request(WebhookEndpoint, "PATCH", f"/v1/webhook_endpoints/{endpoint_id}", json=body)

    def test(self, endpoint_id: str) -> WebhookDelivery:
        """Send a test message; `deliveries` lists the attempt."""
        return self._client.request(WebhookDelivery, "POST", f"/v1/webhook_endpoints/{endpoint_id}/test")

    def delete(self, endpoint_id: str) -> None:
        """Delete a webhook endpoint."""
        raise_for_problem(self._client.send("DELETE", f"/v1/webhook_endpoints/{endpoint_id}"))

    def deliveries(self, endpoint_id: str) -> Iterator[WebhookDelivery]:
        """Iterate over the deliveries to an endpoint, newest first."""
        path = f"/v1/webhook_endpoints/{endpoint_id}/deliveries"
        for delivery in self._client.paginate(Page[WebhookDelivery], path, {}):
            yield delivery

    def redeliver(self, endpoint_id: str, delivery_id: str) -> WebhookDelivery:
        """Deliver a message again."""
        path = f"/v1/webhook_endpoints/{endpoint_id}/deliveries/{delivery_id}/redeliver"
        return self._client.request(WebhookDelivery, "POST", path)
