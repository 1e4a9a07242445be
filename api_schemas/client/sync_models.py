"""The synchronous models, generated from `async_models.py` by `generate_sync_client.py`. Edit those instead."""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr

from api_schemas.calibrations import Calibration, CalibrationRequest
from api_schemas.client.sync_connection import Connection
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


class Models:
    """`client.models`."""

    def __init__(self, client: Connection) -> None:
        self._client = client

    def list(self, **filters: Any) -> Iterator[Model]:
        """Iterate over the base models. Filters: label (one or a list), family, encoder, status."""
        for model in self._client.paginate(Page[Model], "/v1/models", filters):
            yield model

    def register(self, registration: ModelRegistration, *, idempotency_key: str | None = None) -> Model:
        """Register a base model. A worker then reads its files: see `wait`."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        body = registration.model_dump(mode="json")
        return self._client.request(Model, "POST", "/v1/models", json=body, headers=headers)

    def update(self, model_id: str, change: ModelUpdate) -> Model:
        """Change the fields that the update sets."""
        body = change.model_dump(mode="json", exclude_unset=True)
        return self._client.request(Model, "PATCH", f"/v1/models/{model_id}", json=body)

    def delete(self, model_id: str, *, force: bool = False) -> None:
        """Delete the registration of a model, even if it is in use with `force`. Its files stay."""
        params = {"force": "true"} if force else {}
        raise_for_problem(self._client.send("DELETE", f"/v1/models/{model_id}", params=params))

    def wait(self, model_id: str, seconds: float = 3600.0) -> Model:
        """Wait until a worker has read the model. Raises `JobFailed` if it is refused, or after `seconds`."""
        for _ in range(max(1, int(seconds / POLL_SECONDS))):
            model = self.get(model_id)
            if model.status != "registering":
                break
            time.sleep(POLL_SECONDS)
        raise_unless_read(model)
        return model

    def get(self, model_id: str) -> Model:
        """Return a base model."""
        return self._client.request(Model, "GET", f"/v1/models/{model_id}")

    def ledger(self, model_id: str, revision: int | None = None) -> ModelLedger:
        """Return the ledger of a model, as it is or as it was in `revision`."""
        params = query_params({"revision": revision})
        return self._client.request(ModelLedger, "GET", f"/v1/models/{model_id}/ledger", params=params)

    def rebase(self, model_id: str, rebase: LedgerRebase, *, idempotency_key: str | None = None) -> Edit:
        """Queue an edit of another model that makes every removal that is active in the ledger of this one."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        path, body = f"/v1/models/{model_id}/ledger/rebase", rebase.model_dump(mode="json")
        return self._client.request(Edit, "POST", path, json=body, headers=headers)

    def revisions(self, model_id: str) -> Iterator[Revision]:
        """Iterate over the ledger's revisions, newest first."""
        for revision in self._client.paginate(Page[Revision], f"/v1/models/{model_id}/revisions", {}):
            yield revision

    def calibrate(
        self, model_id: str, request: CalibrationRequest | None = None, *, idempotency_key: str | None = None
    ) -> "CalibrationJob":
        """Queue a calibration, after which edits with `features` score features inside the model."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        body = (request or CalibrationRequest()).model_dump(mode="json")
        return self._ask("POST", f"/v1/models/{model_id}/calibrate", json=body, headers=headers)

    def calibration(self, calibration_id: str) -> "CalibrationJob":
        """Return the current state of a calibration job."""
        return self._ask("GET", f"/v1/calibrations/{calibration_id}")

    def calibrations(self, model_id: str | None = None) -> Iterator["CalibrationJob"]:
        """Iterate over the calibration jobs of a model, or of all, newest first."""
        page, filters = Page[CalibrationJob], {"model": model_id}
        for job in self._client.paginate(page, "/v1/calibrations", filters):
            yield self._bound(job)

    def cancel_calibration(self, calibration_id: str) -> "CalibrationJob":
        """Request cancellation. Has no effect if the job has ended."""
        return self._ask("POST", f"/v1/calibrations/{calibration_id}/cancel")

    def follow_calibration(self, calibration_id: str, after: int = 0) -> Iterator[Event]:
        """Follow the events of a calibration, each once and in order."""
        for event in self._client.follow(f"/v1/calibrations/{calibration_id}/stream", after):
            yield event

    def download_calibration(self, calibration_id: str, folder: Path) -> Sequence[Path]:
        """Download the files that a calibration published."""
        path = f"/v1/calibrations/{calibration_id}/artifacts"
        files = self._client.request(Page[Artifact], "GET", path)
        return [self._client.download(artifact, folder) for artifact in files.data]

    def autoencoders(self, model_id: str) -> Iterator[Autoencoder]:
        """Iterate over the autoencoders of a model's latest calibration."""
        for autoencoder in self._client.paginate(Page[Autoencoder], f"/v1/models/{model_id}/autoencoders", {}):
            yield autoencoder

    def features(self, model_id: str, kind: FeatureKind, **filters: Any) -> Iterator[Feature]:
        """Iterate over the features of an autoencoder. Filters: search; order: latent, purest or frequent."""
        path = f"/v1/models/{model_id}/autoencoders/{kind}/features"
        for feature in self._client.paginate(Page[Feature], path, filters):
            yield feature

    def feature_image(self, model_id: str, kind: FeatureKind, name: str) -> bytes:
        """Return an image of a feature as WebP, such as `feature.top.names[0]`, or its heat maps as PNG."""
        response = self._client.send("GET", f"/v1/models/{model_id}/autoencoders/{kind}/images/{name}")
        raise_for_problem(response)
        return response.content

    def _ask(self, method: str, path: str, **options: Any) -> "CalibrationJob":
        return self._bound(self._client.request(CalibrationJob, method, path, **options))

    def _bound(self, job: "CalibrationJob") -> "CalibrationJob":
        job._models = self
        return job


class CalibrationJob(Calibration):
    """A calibration job at the time of the request, with methods to act on it."""

    _models: Models = PrivateAttr()

    def wait(self, on_event: Callable[[Event], None] = lambda event: None) -> "CalibrationJob":
        """Follow the job to its end and return its final state. Raises `JobFailed` unless it succeeded."""
        for event in self._models.follow_calibration(self.id):
            on_event(event)
        job = self._models.calibration(self.id)
        raise_unless_succeeded(job)
        return job

    def cancel(self) -> "CalibrationJob":
        """Request cancellation."""
        return self._models.cancel_calibration(self.id)
