"""A service with data of tenant `one` and none of tenant `two`."""

import io
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from api_schemas.access import SCOPES
from api_schemas.cases import Case
from api_schemas.comparisons import COMPARISON_FILE, COMPARISON_IMAGES, Comparison
from api_schemas.edits import EditRequest, Removal
from api_schemas.features import Feature
from api_schemas.fleets import FleetRequest, FleetSelector, FleetTask
from api_schemas.jobs import EditableEncoder, JobError
from api_schemas.previews import PreviewTask
from service.api.app import create_app
from service.api.openapi_examples import EXAMPLE_MODELS
from service.core.app_state import AppState
from service.core.caller import Caller
from service.settings import ServiceSettings
from service.store import api_keys, batches, claims, fleets, jobs, ledgers, webhooks
from service.store.claims import StoredArtifact
from service.store.database import Database
from service.store.fleets import NewTarget
from service.store.jobs import NewJob
from service.store.ledgers import NextRevision
from service.store.orm import Fleet, Job, ModelRegistration
from service.store.registered_files import register_model
from service.store.samples import NewSample
from service.webhooks.signing import WebhookSigner
from tests.fakes.clock import FakeClock
from tests.fakes.desk import CANARIES, ERASE, Desk
from tests.fakes.features import record_calibration, store_features
from tests.fakes.model import write_model

SECRET = "quokka"
"""A concept that tenant `one` has removed. No other tenant may read it."""


@dataclass
class SampleService:
    """A service with sample data."""

    app_state: AppState
    app: FastAPI
    owned: dict[str, str] = field(default_factory=dict)
    """Path parameters that name resources of tenant `one`."""
    owned_by_route: dict[str, dict[str, str]] = field(default_factory=dict)
    """Path parameters of routes that need a case in a state of its own."""
    secrets: list[str] = field(default_factory=list)
    """Strings that only tenant `one` may read."""


@pytest.fixture
def sample(tmp_path: Path, database: Database, clock: FakeClock) -> SampleService:
    return make_sample(tmp_path, clock)


@pytest.fixture(scope="session")
def app(empty_tables: Path, tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """One application, for tests that only read its contract."""
    folder = tmp_path_factory.mktemp("service")
    shutil.copy(empty_tables, folder)
    return make_sample(folder, FakeClock()).app


def make_sample(data_dir: Path, clock: FakeClock) -> SampleService:
    """Return a service with sample data in a folder that has an empty database."""
    for name in ("tiny", "twin", "new"):
        write_model(data_dir / "models" / name)
    settings = ServiceSettings(
        data_dir=data_dir,
        broker_url="memory://",
        model_roots=[data_dir / "models"],
        stream_poll_seconds=0.01,
        plan_seconds=0.01,
        rate_limit="",
        webhook_allowed_hosts=["receiver.test:80"],
    )
    app_state = AppState.from_settings(settings, clock=clock)
    for name in ("tiny", "twin"):
        register_model(app_state.database, name, data_dir / "models" / name, clock())
    found = SampleService(app_state, create_app(app_state))
    _create_sample_data(found)
    return found


@pytest.fixture
def client_for(sample: SampleService) -> Iterator["ClientFactory"]:
    with ExitStack() as stack:
        yield ClientFactory(sample, stack)


class ClientFactory:
    """Returns clients with a key of a tenant and some scopes."""

    def __init__(self, sample: SampleService, stack: ExitStack) -> None:
        self._world = sample
        self._stack = stack

    def __call__(self, tenant: str, scopes: tuple[str, ...] = SCOPES) -> TestClient:
        key, app_state = api_keys.generate_api_key(), self._world.app_state
        with app_state.database.write() as session:
            api_keys.register(session, key, now=app_state.clock(), tenant=tenant, scopes=scopes)
        headers = {"Authorization": f"Bearer {key}"}
        return self._stack.enter_context(
            TestClient(self._world.app, headers=headers, raise_server_exceptions=False, follow_redirects=False)
        )


def _create_sample_data(sample: SampleService) -> None:
    """Create an edit that joined a ledger and was published, a batch, an endpoint and a message to it."""
    app_state, now = sample.app_state, sample.app_state.clock()
    request = EditRequest(model="tiny", removals=[Removal(concept=SECRET)], ledger=True)
    files = [_store_artifact(app_state, name, f"{name} of {SECRET}") for name in FILES]
    files.append(_store_artifact(app_state, COMPARISON_FILE, _comparison().model_dump_json()))
    feature = next(one for one in EXAMPLE_MODELS if isinstance(one, Feature))
    shared_files = store_features(app_state, [feature], {"delta.safetensors": b"an image with the name of a file"})
    sealed = WebhookSigner.new().sealed_columns(app_state.settings.secret_box())
    with app_state.database.write() as session:
        wishes = {"url": "http://receiver.test", "events": ["edit.succeeded"], "description": ""}
        endpoint = webhooks.add_endpoint(session, "one", now=now, **wishes, **sealed)
        job = jobs.create(session, NewJob(request, "key", tenant="one"), now=now)
        batch = batches.create(session, "one", job.id, now=now)
        batches.add_item(session, batch, 0, SECRET, 0, [])
        claim = claims.claim(session, job.id, owner="w", lease=timedelta(seconds=30), now=now)
        assert claim
        assert claims.succeed(session, claim, files, "0" * 64, "passed", now=now)
        ledgers.advance(session, job, NextRevision(0, "d" * 64, 1), now=now)
        (delivery,) = webhooks.list_deliveries(session, endpoint.id, after=None, limit=1)
        calibration_id = record_calibration(session, app_state, [files[0], *shared_files], "one", now)
        preview_id = _create_preview(session, {"edit": job.id}, files[0], now)
        steering = {"kind": "object", "latents": [feature.latent], "scale": 2.0}
        steering_id = _create_preview(session, {"steering": steering}, files[0], now)
        row = session.get_one(ModelRegistration, "tiny")
        encoder = EditableEncoder(component="text_encoder", kind="CLIPTextModel", layers=6, width=384, digest="e" * 64)
        row.family, row.encoders = "fake", [encoder.model_dump()]
        fleet = _create_fleet(session, files[:1], now)
        failed, running = _create_failed_job(session, now), _create_running_job(session, now)
        key_id = api_keys.register(session, api_keys.generate_api_key(), now=now, tenant="one")
    sample.owned = {
        "key_id": key_id,
        "queue_name": "edits",
        "job_id": failed.id,
        "fleet_id": fleet.id,
        "calibration_id": calibration_id,
        "preview_id": preview_id,
        "edit_id": job.id,
        "batch_id": batch.id,
        "endpoint_id": endpoint.id,
        "delivery_id": delivery.id,
        "name": "delta.safetensors",
        "format": "json",
        "kind": "object",
        "latent": str(feature.latent),
        "model_id": "tiny",
        "number": "1",
        "side": "after",
        "namespace": "expunge",
        "repo": job.id,
        "revision": "main",
        "folder": "text_encoder",
    }
    for path in ("", "/cancel", "/images/{name}"):
        for root in ("/v1/models/{model_id}/autoencoders/{kind}/previews", "/v1/features/{model_id}/{kind}/steer"):
            sample.owned_by_route[f"{root}/{{preview_id}}{path}"] = sample.owned | {"preview_id": steering_id}
    for path in ("", "/{number}/{side}"):
        for root in ("/v1/edits", "/v1/jobs"):
            sample.owned_by_route[f"{root}/{{edit_id}}/samples{path}"] = sample.owned | {"edit_id": running.id}
    sample.secrets = [
        SECRET,
        job.id,
        batch.id,
        endpoint.id,
        delivery.id,
        calibration_id,
        preview_id,
        fleet.id,
        failed.id,
        files[0].sha256,
        "d" * 64,
    ]


def _create_preview(session: Session, subject: dict[str, object], image: StoredArtifact, now: datetime) -> str:
    """Create a preview whose only image has the name of a file of the edit."""
    about = {"model": "tiny", "delta_sha256": image.sha256, "delta_size": image.size, "prompt": SECRET}
    task = PreviewTask.model_validate(about | subject)
    job = jobs.create(session, NewJob(task, "key", tenant="one", kind="preview"), now=now)
    claim = claims.claim(session, job.id, owner="w", lease=timedelta(seconds=30), now=now)
    assert claim
    assert claims.succeed(session, claim, [image], "0" * 64, None, now=now)
    return job.id


def create_cases(sample: SampleService, clock: FakeClock, *, for_every_route: bool) -> None:
    """Create a case with a statement and an open one, or a case for each route, in a state in which the route can change it."""
    agent, reviewer = (Caller(name, "one", frozenset(SCOPES)) for name in ("agent", "reviewer"))
    desk, opened = Desk(sample.app_state, clock, agent, reviewer), ["notice", "claim", "release", "decisions"]

    def erase(concept: str) -> dict[str, object]:
        return ERASE | {"removal": {"concept": concept}}

    def in_force(concept: str) -> Case:
        case = desk.apply(desk.open(), erase(concept))
        desk.end_edit(case.targets[0].edit)
        desk.sweep()
        return desk.read(case.id)

    first, done = desk.open(), in_force("narwhal")
    cases = {"statement": done, "statement.{format}": done}
    if for_every_route:
        cases |= {name: desk.open() for name in ("close", "deadlines/{deadline_id}/extend", *opened)}
        cases |= {name: in_force(name) for name in ("complaints", "counter_notices", "restore")}
        cases |= {name: desk.counter(in_force(name)) for name in ("hold", "resolve")}
        cases["approve"] = desk.decide(desk.open("eu-dsa"), erase("okapi"))
        cases["undo"] = desk.decide(desk.open(), erase("kakapo"))
        cases["erase"] = desk.close(desk.open(), "withdrawn")
    served = cases.get("resolve", done).targets[0].edit
    assert served, "the latest one: the Hub routes serve no edit from before it"
    sample.owned |= {"case_id": first.id, "deadline_id": first.deadlines[0].id, "repo": served}
    for name, case in cases.items():
        owned = {"case_id": case.id, "deadline_id": case.deadlines[0].id}
        sample.owned_by_route[f"/v1/cases/{{case_id}}/{name}"] = owned
    sample.secrets += [CANARIES[0], CANARIES[2], first.id]


def _create_fleet(session: Session, files: list[StoredArtifact], now: datetime) -> Fleet:
    """Create a fleet whose statement is signed."""
    request = FleetRequest(selector=FleetSelector(models=["tiny"]), removals=[Removal(concept=SECRET)])
    target = [NewTarget("tiny", "g" * 64)]
    fleet = fleets.create(session, request, target, tenant="one", api_key_id="key", now=now)
    job = jobs.create(session, NewJob(FleetTask(fleet=fleet.id), "key", "one", "statement"), now=now)
    claim = claims.claim(session, job.id, owner="w", lease=timedelta(seconds=30), now=now)
    assert claim
    assert claims.succeed(session, claim, files, "0" * 64, None, now=now)
    fleet.statement_job_id = job.id
    return fleet


def _create_failed_job(session: Session, now: datetime) -> Job:
    """Create an edit that has failed."""
    request = EditRequest(model="tiny", removals=[Removal(concept=SECRET)])
    job = jobs.create(session, NewJob(request, "key", tenant="one"), now=now)
    claim = claims.claim(session, job.id, owner="w", lease=timedelta(seconds=30), now=now)
    assert claim
    assert claims.fail(session, claim, JobError(code="crashed", message=f"{SECRET} crashed"), now=now)
    return job


def _create_running_job(session: Session, now: datetime) -> Job:
    """Create an edit that is validated, with a sample image."""
    request = EditRequest(model="tiny", removals=[Removal(concept=SECRET)])
    job = jobs.create(session, NewJob(request, "key", tenant="one"), now=now)
    claim = claims.claim(session, job.id, owner="w", lease=timedelta(seconds=30), now=now)
    assert claim
    found = [NewSample(f"a photo of {SECRET}", 0, SECRET.encode(), SECRET.encode())]
    assert claims.report_samples(session, claim, found, phase="validate", progress=0.5, now=now)
    return job


FILES = {
    "delta.safetensors": "application/octet-stream",
    "report.json": "application/json",
    "report.html": "text/html; charset=utf-8",
    "report.pdf": "application/pdf",
    "attestation.intoto.jsonl": "application/jsonl",
    COMPARISON_IMAGES: "application/zip",
}


def _comparison() -> Comparison:
    """Return an index whose images have the name of a file of the edit."""
    pair = next(one for one in EXAMPLE_MODELS if isinstance(one, Comparison)).pairs[0]
    image = pair.before.model_copy(update={"name": "delta.safetensors", "offset": 0, "size": 10})
    return Comparison(pairs=[pair.model_copy(update={"before": image, "after": image, "prompt": SECRET})], omitted=0)


def _store_artifact(app_state: AppState, name: str, content: str) -> StoredArtifact:
    blob = app_state.blobs.put(io.BytesIO(content.encode()))
    return StoredArtifact(name, "delta", FILES.get(name, "application/json"), blob.size, blob.sha256)
