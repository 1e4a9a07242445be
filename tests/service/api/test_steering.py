"""Previews of steered features over the API."""

import io
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.features import AUTOENCODER_FILES
from service.core.app_state import AppState
from service.store import claims, jobs
from service.store.claims import StoredArtifact
from tests.fakes.clock import FakeClock
from tests.fakes.features import record_calibration, store_features, store_file
from tests.service.api.test_features import FEATURES, IMAGES

PATH = "/v1/models/tiny/autoencoders/object/previews"
PROMPT = "Ada Quokka in the snow"


@pytest.fixture(autouse=True)
def _published(app_state: AppState, clock: FakeClock) -> None:
    files = store_features(app_state, FEATURES, IMAGES)
    files += [
        store_file(app_state, f"sae/object/{name}", "application/json", name.encode()) for name in AUTOENCODER_FILES
    ]
    with app_state.database.write() as session:
        record_calibration(session, app_state, files, "another-tenant", clock())


def create(client: TestClient, **fields: Any) -> Any:
    return client.post(PATH, json={"prompt": PROMPT, "latents": [3, 8], **fields})


def test_preview_names_the_group_and_the_files_of_its_autoencoder(client: TestClient, app_state: AppState) -> None:
    response = create(client, seeds=[5], scale=0.0)
    body = response.json()
    assert (response.status_code, response.headers["location"]) == (202, body["urls"]["self"])
    assert (body["edit"], body["urls"]["edit"], body["images"]) == (None, None, [])
    assert body["steering"] == {"kind": "object", "latents": [3, 8], "scale": 0.0}
    assert body["request"] == {"prompt": PROMPT, "seeds": [5], "steps": None}
    with app_state.database.read() as session:
        job = jobs.get(session, body["id"])
    assert job
    assert (job.kind, job.request["autoencoder"]["module"]) == ("preview", "mid_block")
    assert set(job.request["autoencoder"]["files"]) == set(AUTOENCODER_FILES)
    assert client.get(body["urls"]["self"]).json() == body
    audited = client.get("/v1/audit_log").json()["data"][0]
    assert (audited["action"], audited["details"]) == ("preview.create", {"model": "tiny"})


def test_images_are_served_when_it_has_succeeded(client: TestClient, app_state: AppState) -> None:
    body, now = create(client, seeds=[5]).json(), app_state.clock()
    blob = app_state.blobs.put(io.BytesIO(b"png"))
    files = [StoredArtifact(f"5-{side}.png", "preview", "image/png", 3, blob.sha256) for side in ("before", "after")]
    with app_state.database.write() as session:
        claim = claims.claim(session, body["id"], owner="w", lease=timedelta(seconds=9), now=now)
        assert claim
        assert claims.succeed(session, claim, files, "0" * 64, None, now=now)
    (images,) = client.get(body["urls"]["self"]).json()["images"]
    assert client.get(images["after"]).content == b"png"


def test_previews_of_an_autoencoder_are_listed_newest_first(client: TestClient, clock: FakeClock) -> None:
    made = []
    for scale in (0.0, 2.0, 3.0):
        made.append(create(client, scale=scale).json()["id"])
        clock.advance(1)
    first = client.get(PATH, params={"limit": 2}).json()
    assert ([one["id"] for one in first["data"]], first["has_more"]) == (made[:0:-1], True)
    assert [one["steering"]["scale"] for one in first["data"]] == [3.0, 2.0]
    rest = client.get(PATH, params={"limit": 2, "after": first["next_cursor"]}).json()
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (made[:1], False)
    assert client.get(PATH.replace("object", "style")).json()["data"] == []
    assert client.get(PATH.replace("tiny", "none")).status_code == 404


def test_preview_belongs_to_its_autoencoder(client: TestClient) -> None:
    preview_id = create(client).json()["id"]
    assert client.get(f"/v1/models/tiny/autoencoders/style/previews/{preview_id}").status_code == 404
    edit_id = client.post("/v1/edits", json={"model": "tiny", "removals": [{"concept": "fox"}]}).json()["id"]
    assert client.get(f"/v1/edits/{edit_id}/previews/{preview_id}").status_code == 404
    assert client.post(f"{PATH}/{preview_id}/cancel").json()["status"] == "canceled"


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"latents": [4]}, 404), ({"latents": []}, 422), ({"latents": [3, 3]}, 422), ({"scale": 21.0}, 422)],
)
def test_wrong_group_is_refused(client: TestClient, fields: dict[str, object], status: int) -> None:
    assert create(client, **fields).status_code == status


def test_previews_of_edits_and_features_have_one_quota(client: TestClient, app_state: AppState) -> None:
    object.__setattr__(app_state.settings, "max_previews_per_tenant", 1)
    assert create(client).status_code == 202
    assert create(client).json()["code"] == "too_many_previews"


def test_repeated_request_returns_the_same_preview(client: TestClient) -> None:
    headers = {"Idempotency-Key": "once"}
    sent = {"prompt": PROMPT, "latents": [3]}
    first, again = (client.post(PATH, json=sent, headers=headers) for _ in range(2))
    assert first.json() == again.json()
    assert client.post(PATH, json=sent | {"scale": 3.0}, headers=headers).status_code == 422
