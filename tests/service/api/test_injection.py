"""Client input cannot inject headers or log lines."""

import io
from urllib.parse import quote

import httpx
import pytest
from fastapi.testclient import TestClient

from service.core.app_state import AppState
from service.store import logs
from service.store.database import Database
from service.store.orm import Artifact, Job
from tests.fakes.clock import FakeClock

pytestmark = pytest.mark.usefixtures("own_logging")

BREAK = "x\r\nSet-Cookie: owned=1"
BODY = {"model": "tiny", "removals": [{"concept": "fox"}]}


def has_no_foreign_header(response: httpx.Response) -> bool:
    lines = [f"{name}: {value}" for name, value in response.headers.multi_items()]
    return "set-cookie" not in response.headers and not any("\r" in line or "\n" in line for line in lines)


@pytest.mark.parametrize("given", [BREAK, "x\n", "é", "a b", "", "x" * 65])
def test_malformed_request_id_is_not_echoed(client: TestClient, given: str) -> None:
    response = client.get("/v1/edits", headers={"Request-Id": given.encode()})
    assert response.headers["request-id"] != given
    assert response.headers["request-id"].isalnum()
    assert has_no_foreign_header(response)


@pytest.mark.parametrize("name", ["Idempotency-Key", "Prefer", "If-None-Match", "Last-Event-ID", "User-Agent"])
def test_line_break_in_a_header_adds_no_header(client: TestClient, name: str) -> None:
    response = client.post("/v1/edits", json=BODY, headers={name: BREAK.encode()})
    assert response.status_code < 500
    assert has_no_foreign_header(response)


@pytest.mark.parametrize(
    ("name", "status"),
    [("a\r\nSet-Cookie: owned=1", 404), ("b\nc", 404), ('d"; filename="e', 200), ("f\x00g", 200)],
)
def test_artifact_name_adds_no_header(
    client: TestClient, app_state: AppState, database: Database, clock: FakeClock, name: str, status: int
) -> None:
    """Routes do not match line breaks, so a file whose name contains one cannot be requested."""
    edit_id = client.post("/v1/edits", json=BODY).json()["id"]
    blob = app_state.blobs.put(io.BytesIO(b"content"))
    with database.write() as session:
        session.get_one(Job, edit_id).status = "succeeded"
        row = Artifact(
            job_id=edit_id, name=name, position=0, kind="log", media_type="text/plain", size=7, sha256=blob.sha256
        )
        session.add(row)
    response = client.get(f"/v1/edits/{edit_id}/artifacts/{quote(name)}")
    assert response.status_code == status
    assert status != 200 or response.content == b"content"
    assert has_no_foreign_header(response)
    assert not any(name in value for value in response.headers.values())


def test_path_with_a_line_break_is_one_log_line(
    client: TestClient, app_state: AppState, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(app_state.settings)
    client.get("/v1/edits/x%0Aforged%20line", headers={"User-Agent": b"a\nforged line"})
    written = [line for line in capsys.readouterr().err.splitlines() if "[service.api.metrics]" in line]
    assert len(written) == 1
    assert "forged line 404" in written[0]
