"""The asynchronous client's base models. `sync_models.py` is generated from it by `generate_sync_client.py`."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr

from api_schemas.calibrations import Calibration, CalibrationRequest
from api_schemas.client.async_connection import AsyncConnection
from api_schemas.client.transport import (
    POLL_SECONDS,
    query_params,
    raise_for_problem,
    raise_unless_read,
    raise_unless_succeeded,
)
from api_schemas.events import Event
from api_schemas.features import Autoencoder, Feature, FeatureKind
from api_schemas.jobs import Artifact, Edit, Model, Page
from api_schemas.ledgers import LedgerRebase, ModelLedger, Revision
from api_schemas.registrations import ModelRegistration, ModelUpdate


class AsyncModels:
    """`client.models`."""

    def __init__(self, client: AsyncConnection) -> None:
        self._client = client

    async def list(self, **filters: Any) -> AsyncIterator[Model]:
        """Iterate over the base models. Filters: label (one or a list), family, encoder, status."""
        async for model in self._client.paginate(Page[Model], "/v1/models", filters):
            yield model

    async def register(self, registration: ModelRegistration, *, idempotency_key: str | None = None) -> Model:
        """Register a base model. A worker then reads its files: see `wait`."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        body = registration.model_dump(mode="json")
        return await self._client.request(Model, "POST", "/v1/models", json=body, headers=headers)

    async def update(self, model_id: str, change: ModelUpdate) -> Model:
        """Change the fields that the update sets."""
        body = change.model_dump(mode="json", exclude_unset=True)
        return await self._client.request(Model, "PATCH", f"/v1/models/{model_id}", json=body)

    async def delete(self, model_id: str, *, force: bool = False) -> None:
        """Delete the registration of a model, even if it is in use with `force`. Its files stay."""
        params = {"force": "true"} if force else {}
        raise_for_problem(await self._client.send("DELETE", f"/v1/models/{model_id}", params=params))

    async def wait(self, model_id: str, seconds: float = 3600.0) -> Model:
        """Wait until a worker has read the model. Raises `JobFailed` if it is refused, or after `seconds`."""
        for _ in range(max(1, int(seconds / POLL_SECONDS))):
            model = await self.get(model_id)
            if model.status != "registering":
                break
            await asyncio.sleep(POLL_SECONDS)
        raise_unless_read(model)
        return model

    async def get(self, model_id: str) -> Model:
        """Return a base model."""
        return await self._client.request(Model, "GET", f"/v1/models/{model_id}")

    async def ledger(self, model_id: str, revision: int | None = None) -> ModelLedger:
        """Return the ledger of a model, as it is or as it was in `revision`."""
        params = query_params({"revision": revision})
        return await self._client.request(ModelLedger, "GET", f"/v1/models/{model_id}/ledger", params=params)

    async def rebase(self, model_id: str, rebase: LedgerRebase, *, idempotency_key: str | None = None) -> Edit:
        """Queue an edit of another model that makes every removal that is active in the ledger of this one."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        path, body = f"/v1/models/{model_id}/ledger/rebase", rebase.model_dump(mode="json")
        return await self._client.request(Edit, "POST", path, json=body, headers=headers)

    async def revisions(self, model_id: str) -> AsyncIterator[Revision]:
        """Iterate over the ledger's revisions, newest first."""
        async for revision in self._client.paginate(Page[Revision], f"/v1/models/{model_id}/revisions", {}):
            yield revision

    async def calibrate(
        self, model_id: str, request: CalibrationRequest | None = None, *, idempotency_key: str | None = None
    ) -> "AsyncCalibrationJob":
        """Queue a calibration, after which edits with `features` score features inside the model."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        body = (request or CalibrationRequest()).model_dump(mode="json")
        return await self._ask("POST", f"/v1/models/{model_id}/calibrate", json=body, headers=headers)

    async def calibration(self, calibration_id: str) -> "AsyncCalibrationJob":
        """Return the current state of a calibration job."""
        return await self._ask("GET", f"/v1/calibrations/{calibration_id}")

    async def calibrations(self, model_id: str | None = None) -> AsyncIterator["AsyncCalibrationJob"]:
        """Iterate over the calibration jobs of a model, or of all, newest first."""
        page, filters = Page[AsyncCalibrationJob], {"model": model_id}
        async for job in self._client.paginate(page, "/v1/calibrations", filters):
            yield self._bound(job)

    async def cancel_calibration(self, calibration_id: str) -> "AsyncCalibrationJob":
        """Request cancellation. Has no effect if the job has ended."""
        return await self._ask("POST", f"/v1/calibrations/{calibration_id}/cancel")

    async def follow_calibration(self, calibration_id: str, after: int = 0) -> AsyncIterator[Event]:
        """Follow the events of a calibration, each once and in order."""
        async for event in self._client.follow(f"/v1/calibrations/{calibration_id}/stream", after):
            yield event

    async def download_calibration(self, calibration_id: str, folder: Path) -> Sequence[Path]:
        """Download the files that a calibration published."""
        path = f"/v1/calibrations/{calibration_id}/artifacts"
        files = await self._client.request(Page[Artifact], "GET", path)
        return [await self._client.download(artifact, folder) for artifact in files.data]

    async def autoencoders(self, model_id: str) -> AsyncIterator[Autoencoder]:
        """Iterate over the autoencoders of a model's latest calibration."""
        async for autoencoder in self._client.paginate(Page[Autoencoder], f"/v1/models/{model_id}/autoencoders", {}):
            yield autoencoder

    async def features(self, model_id: str, kind: FeatureKind, **filters: Any) -> AsyncIterator[Feature]:
        """Iterate over the features of an autoencoder. Filters: search; order: latent, purest or frequent."""
        path = f"/v1/models/{model_id}/autoencoders/{kind}/features"
        async for feature in self._client.paginate(Page[Feature], path, filters):
            yield feature

    async def feature_image(self, model_id: str, kind: FeatureKind, name: str) -> bytes:
        """Return an image of a feature as WebP, such as `feature.top.names[0]`, or its heat maps as PNG."""
        response = await self._client.send("GET", f"/v1/models/{model_id}/autoencoders/{kind}/images/{name}")
        raise_for_problem(response)
        return response.content

    async def _ask(self, method: str, path: str, **options: Any) -> "AsyncCalibrationJob":
        return self._bound(await self._client.request(AsyncCalibrationJob, method, path, **options))

    def _bound(self, job: "AsyncCalibrationJob") -> "AsyncCalibrationJob":
        job._models = self
        return job


class AsyncCalibrationJob(Calibration):
    """A calibration job at the time of the request, with methods to act on it."""

    _models: AsyncModels = PrivateAttr()

    async def wait(self, on_event: Callable[[Event], None] = lambda event: None) -> "AsyncCalibrationJob":
        """Follow the job to its end and return its final state. Raises `JobFailed` unless it succeeded."""
        async for event in self._models.follow_calibration(self.id):
            on_event(event)
        job = await self._models.calibration(self.id)
        raise_unless_succeeded(job)
        return job

    async def cancel(self) -> "AsyncCalibrationJob":
        """Request cancellation."""
        return await self._models.cancel_calibration(self.id)
