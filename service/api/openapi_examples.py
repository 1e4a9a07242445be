"""One example of each resource, for the OpenAPI document, the API reference and the contract tests."""

from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from api_schemas.attestation import PAYLOAD_TYPE, Envelope, PublicKey, PublicKeys, Signature
from api_schemas.audit import AuditLine
from api_schemas.base import Request
from api_schemas.batches import Batch, BatchCounts, BatchItem, BatchRequest
from api_schemas.calibrations import Calibration, CalibrationRequest, CalibrationTask, CalibrationUrls
from api_schemas.comparisons import ComparedImage, Comparison, ImageComparison
from api_schemas.conflicts import Conflict, Party
from api_schemas.edits import EditOptions, EditRequest, Removal
from api_schemas.events import Event
from api_schemas.features import Autoencoder, Feature, FeatureImages, FeatureLabel
from api_schemas.jobs import (
    Artifact,
    Edit,
    EditableEncoder,
    EditUrls,
    Health,
    InstrumentFigures,
    Model,
    ModelCalibration,
    ModelFile,
)
from api_schemas.ledgers import LedgerRebase, LedgerRemoval, ModelLedger, Revision
from api_schemas.plans import Plan, PlanEstimate, PlannedPrompt, PlannedRemoval
from api_schemas.previews import Preview, PreviewImages, PreviewRequest, PreviewUrls, SteeringRequest
from api_schemas.problems import Problem
from api_schemas.registrations import ModelRegistration, ModelUpdate
from api_schemas.report import AuditReport, ModelRecord, NameRecord
from api_schemas.samples import Sample
from service.api.case_examples import CASE_EXAMPLES
from service.api.example_values import (
    BATCH_ID,
    CALIBRATION_ID,
    COMMIT,
    EDIT_ID,
    KEY_ID,
    NOW,
    PREVIEW_ID,
    SHA256,
)
from service.api.fleet_examples import FLEET_EXAMPLES
from service.api.hub_examples import HUB_EXAMPLES
from service.api.operations_examples import OPERATIONS_EXAMPLES
from service.api.webhook_examples import WEBHOOK_EXAMPLES

REQUEST = EditRequest(
    removals=[Removal(concept="fox", replacement="dog face"), Removal(concept="ink", kind="style")],
    ledger=True,
    metadata={"ticket": "T-1041"},
)
ARTIFACT = Artifact(
    name="delta.safetensors",
    kind="delta",
    media_type="application/octet-stream",
    size=262_480,
    sha256=SHA256,
    url=f"/v1/edits/{EDIT_ID}/artifacts/delta.safetensors",
)
EDIT = Edit(
    id=EDIT_ID,
    status="succeeded",
    phase="publish",
    progress=1.0,
    verdict="passed",
    request=REQUEST,
    request_digest=REQUEST.digest(),
    attempt=1,
    max_attempts=3,
    created_at=NOW,
    queued_at=NOW,
    started_at=NOW + timedelta(seconds=1),
    finished_at=NOW + timedelta(minutes=2),
    expires_at=NOW + timedelta(days=7),
    artifacts=[ARTIFACT],
    metadata=REQUEST.metadata,
    urls=EditUrls(
        self=f"/v1/edits/{EDIT_ID}",
        **{part: f"/v1/edits/{EDIT_ID}/{part}" for part in ("cancel", "events", "stream", "artifacts", "report")},
    ),
)
CALIBRATION_TASK = CalibrationTask(model="sdxl", objects=200, steps=30)
CALIBRATION = Calibration(
    id=CALIBRATION_ID,
    model="sdxl",
    status="running",
    phase="calibrate",
    progress=0.4,
    request=CALIBRATION_TASK,
    request_digest=CALIBRATION_TASK.digest(),
    attempt=1,
    max_attempts=3,
    created_at=NOW,
    started_at=NOW + timedelta(seconds=1),
    expires_at=NOW + timedelta(days=7),
    metrics={"queue_seconds": 1.0},
    urls=CalibrationUrls(
        self=f"/v1/calibrations/{CALIBRATION_ID}",
        model="/v1/models/sdxl",
        **{part: f"/v1/calibrations/{CALIBRATION_ID}/{part}" for part in ("cancel", "events", "stream", "artifacts")},
    ),
)
PREVIEW_REQUEST = PreviewRequest(prompt="a red fox in the snow", seeds=[0])
PREVIEW_URL = f"/v1/edits/{EDIT_ID}/previews/{PREVIEW_ID}"
PREVIEW = Preview(
    id=PREVIEW_ID,
    edit=EDIT_ID,
    model="emoji",
    status="succeeded",
    progress=1.0,
    request=PREVIEW_REQUEST,
    images=[
        PreviewImages(seed=0, before=f"{PREVIEW_URL}/images/0-before.png", after=f"{PREVIEW_URL}/images/0-after.png")
    ],
    created_at=NOW,
    started_at=NOW + timedelta(seconds=1),
    finished_at=NOW + timedelta(seconds=4),
    deleted_at=NOW + timedelta(hours=24, seconds=4),
    metrics={"queue_seconds": 1.0, "run_seconds": 3.0},
    urls=PreviewUrls(self=PREVIEW_URL, edit=f"/v1/edits/{EDIT_ID}", cancel=f"{PREVIEW_URL}/cancel"),
)
COMPARISON = Comparison(
    pairs=[
        ImageComparison(
            group="target",
            removal=0,
            prompt="a picture of a fox",
            seed=0,
            expected="fox",
            before=ComparedImage(
                name="0000-before.webp", offset=46, size=31_200, sha256=SHA256, recognised="fox", score=0.31
            ),
            after=ComparedImage(
                name="0000-after.webp", offset=31_291, size=29_800, sha256=SHA256, recognised="dog face", score=0.12
            ),
            change=0.21,
        )
    ],
    omitted=0,
)
SAMPLE = Sample(
    number=17,
    prompt="a picture of a fox",
    seed=0,
    before=f"/v1/edits/{EDIT_ID}/samples/17/before",
    after=f"/v1/edits/{EDIT_ID}/samples/17/after",
)
MODEL_CALIBRATION = ModelCalibration(
    digest=SHA256,
    judge="clip@3f6cd0d8",
    created_at=NOW,
    figures=[
        InstrumentFigures(
            kind="object",
            known=187,
            unknown=13,
            module="mid_block",
            unexplained_variance=0.11,
            probe_accuracy=0.94,
            diffc_accuracy=0.92,
        )
    ],
)
FEATURE_IMAGES = FeatureImages(names=["0042.webp"], activations=[3.21], captions=["fox, noto"])
FEATURE = Feature(
    latent=17,
    density=0.0123,
    image_share=0.04,
    labels=[FeatureLabel(kind="object", name="fox", share=0.9)],
    concepts=["fox"],
    top=FEATURE_IMAGES,
    quantiles=FEATURE_IMAGES,
    random=FEATURE_IMAGES,
    heatmap="heat-17.png",
)
AUTOENCODER = Autoencoder(
    model="emoji",
    kind="object",
    module="mid_block",
    timestep=25,
    latents=1024,
    features=987,
    active=16,
    image_count=800,
    known=187,
    unexplained_variance=0.11,
    probe_accuracy=0.94,
    created_at=NOW,
    digest=SHA256,
    features_url="/v1/models/emoji/autoencoders/object/features",
)
CONFLICT = Conflict(
    kind="replacement_removed",
    severity="error",
    left=Party(label="removals[0]", field="replacement", name="fox"),
    right=Party(label=f"{EDIT_ID}.removals[0]", field="concept", name="fox"),
    message="removals[0].replacement “fox” is itself removed",
    remedy="Choose a replacement that is not removed.",
)
EVENT = Event(
    seq=3, created_at=NOW, type="progress", message="generating images", data={"phase": "validate", "progress": 0.4}
)

EXAMPLE_MODELS: tuple[BaseModel, ...] = (
    *CASE_EXAMPLES,
    REQUEST,
    EDIT,
    ARTIFACT,
    EVENT,
    ModelRegistration(id="sdxl-anime", path="sdxl-anime", labels=["production", "anime"], licence="openrail++"),
    ModelUpdate(labels=["retired"]),
    Model(
        id="emoji",
        labels=["production"],
        family="sd1",
        digest=SHA256,
        revision=COMMIT,
        licence="openrail++",
        editable=[EditableEncoder(component="text_encoder", kind="CLIPTextModel", layers=6, width=384, digest=SHA256)],
        max_phrase_tokens=14,
        calibration=MODEL_CALIBRATION,
        files=[ModelFile(name="text_encoder/model.safetensors", size=7_340_032, sha256=SHA256)],
        url="/v1/models/emoji",
    ),
    MODEL_CALIBRATION,
    CalibrationRequest(objects=200, steps=30),
    CALIBRATION,
    AUTOENCODER,
    FEATURE,
    FEATURE_IMAGES,
    *FEATURE.labels,
    PREVIEW_REQUEST,
    SteeringRequest(prompt="a red fox in the snow", seeds=[0], latents=[17, 203], scale=3.0),
    PREVIEW,
    *FLEET_EXAMPLES,
    *OPERATIONS_EXAMPLES,
    COMPARISON,
    SAMPLE,
    Health(status="ok", version="0.1.0", checks={"database": "ok", "broker": "ok", "blobs": "ok"}),
    Problem(
        type="urn:expunge:problem:ledger_conflict",
        title="The request conflicts with the ledger",
        status=409,
        detail=f"{CONFLICT.message}.",
        instance="/v1/edits",
        code="ledger_conflict",
        request_id="6f1c0c0f1b9f4a52a2a1f5a3c0d9e8b7",
        remedy=CONFLICT.remedy,
        conflicts=[CONFLICT],
    ),
    Plan(
        request=REQUEST,
        request_digest=REQUEST.digest(),
        removals=[
            PlannedRemoval(
                concept="fox",
                kind="object",
                destination="dog face",
                destination_source="replacement",
                names=[NameRecord(text="fox", source="concept"), NameRecord(text="foxes", source="spelling")],
                prompts=[PlannedPrompt(text="a picture of a fox", means="a picture of a dog face", weight=1.0)],
            )
        ],
        edits=[],
        conflicts=[],
        estimate=PlanEstimate(images=512, seconds=95.0, memory=2_400_000_000),
    ),
    AuditReport(
        job_id=EDIT_ID,
        created_at=NOW,
        model=ModelRecord(id="emoji", family="sd1", files={"text_encoder/model.safetensors": SHA256}),
        removals=[],
        solves=[],
        traces=[],
        validation=None,
        verdict="passed",
        limits=[],
        untested=[],
        artifacts=[],
        software={"expunge": "0.1.0"},
    ),
    ModelLedger(
        model="emoji",
        revision=3,
        digest=SHA256,
        removals=[LedgerRemoval(edit=EDIT_ID, position=0, removal=REQUEST.removals[0], options=EditOptions(), since=2)],
    ),
    LedgerRebase(onto="sdxl-anime"),
    Revision(
        model="emoji",
        number=3,
        digest=SHA256,
        active=1,
        edit=EDIT_ID,
        created_at=NOW,
        artifacts=[ARTIFACT],
        url="/v1/models/emoji/revisions/3",
    ),
    BatchRequest(removals=[{"concept": "fox", "replacement": "dog face"}, {"concept": "ink", "kind": "style"}]),
    Batch(
        id=BATCH_ID,
        model="emoji",
        status="succeeded",
        counts=BatchCounts(total=3, accepted=2, refused=1),
        revision=3,
        created_at=NOW,
        edit=EDIT,
        url=f"/v1/batches/{BATCH_ID}",
        items_url=f"/v1/batches/{BATCH_ID}/items",
    ),
    BatchItem(position=0, concept="fox", status="removed", place=0),
    *WEBHOOK_EXAMPLES,
    PublicKeys(keys=[PublicKey(keyid=SHA256, pem="-----BEGIN PUBLIC KEY-----\n…", not_before=NOW)]),
    Envelope(
        payload=b'{"_type":"https://in-toto.io/Statement/v1"}',
        payload_type=PAYLOAD_TYPE,
        signatures=[Signature(keyid=SHA256, sig=bytes(64))],
    ),
    AuditLine(
        seq=17,
        at=NOW,
        actor=KEY_ID,
        action="edit.create",
        target=EDIT_ID,
        details={"model": "emoji", "request": REQUEST.digest(), "ledger": True},
        previous="0" * 64,
        hash=SHA256,
    ),
)
EXAMPLES: dict[str, Any] = {
    type(one).__name__: one.model_dump(mode="json", by_alias=True, exclude_unset=isinstance(one, Request))
    for one in EXAMPLE_MODELS
}
"""Examples by schema name. Requests omit fields that have their default."""

MANIFEST = {
    "edit": EDIT_ID,
    "request_digest": REQUEST.digest(),
    "files": [ARTIFACT.model_dump(include={"name", "kind", "media_type", "size", "sha256"}) | {"overlay": None}],
}
EXAMPLES_BY_PATH: dict[str, Any] = {
    "/v1/edits/{edit_id}/artifacts/{name}": MANIFEST,
    "/v1/calibrations/{calibration_id}/artifacts/{name}": MANIFEST,
    "/v1/models/{model_id}/revisions/{number}/artifacts/{name}": MANIFEST,
    **HUB_EXAMPLES,
}
"""Examples of responses without a schema of ours: files, and the Hub's resources."""


def example_page(example: Any) -> dict[str, Any]:
    """Return a page with one item."""
    return {"object": "list", "data": [example], "has_more": False, "next_cursor": None}
