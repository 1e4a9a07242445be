"""Published features of a base model, as a calibration records them."""

import io
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from api_schemas.calibrations import CalibrationTask
from api_schemas.features import FEATURE_IMAGES, FEATURES_FILE, Feature, FeatureIndex
from editor.io.image_pack import ImagePack
from service.core.app_state import AppState
from service.store import calibrations, claims, jobs
from service.store.calibrations import NewCalibration
from service.store.claims import StoredArtifact
from service.store.jobs import NewJob
from tests.fakes.calibrator import FIGURES


def store_features(
    app_state: AppState, features: Sequence[Feature], images: Mapping[str, bytes]
) -> list[StoredArtifact]:
    """Store the features of the autoencoder for objects, with their images by name."""
    pack = ImagePack()
    files = [pack.add(name, content) for name, content in images.items()]
    index = FeatureIndex(
        kind="object",
        module="mid_block",
        timestep=25,
        latents=1024,
        active=16,
        image_count=800,
        scale=4.0,
        features=list(features),
        files=files,
    )
    contents = {
        FEATURE_IMAGES: ("application/zip", pack.finish()),
        FEATURES_FILE: ("application/json", index.model_dump_json().encode()),
    }
    return [store_file(app_state, f"sae/object/{name}", *content) for name, content in contents.items()]


def store_file(app_state: AppState, name: str, media_type: str, content: bytes) -> StoredArtifact:
    blob = app_state.blobs.put(io.BytesIO(content))
    return StoredArtifact(name, "calibration", media_type, blob.size, blob.sha256)


def record_calibration(
    session: Session, app_state: AppState, files: list[StoredArtifact], tenant: str, now: datetime
) -> str:
    """Record a finished calibration of the model `tiny` with some files, and return its id."""
    job = jobs.create(session, NewJob(CalibrationTask(model="tiny"), "key", tenant, "calibration"), now=now)
    claim = claims.claim(session, job.id, owner="w", lease=timedelta(seconds=30), now=now)
    assert claim
    assert claims.succeed(session, claim, files, "0" * 64, None, now=now)
    revision = calibrations.current_revision(session, app_state.registry.get("tiny"))
    calibrations.record(session, job, NewCalibration("b" * 64, "fake@0", [FIGURES]), revision, now=now)
    return job.id
