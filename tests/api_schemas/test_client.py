"""The client against a service that misbehaves."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from api_schemas.client import Client
from api_schemas.edits import EditRequest, Removal
from api_schemas.errors import ClientError, DownloadCorrupted, JobFailed, ServiceUnreachable
from api_schemas.events import Event
from api_schemas.jobs import Artifact, Edit
from api_schemas.problems import Problem, ServiceProblem

REQUEST = EditRequest(removals=[Removal(concept="fox")])
NOW = "2026-05-01T12:00:00Z"
EDIT = Edit.model_validate(
    {
        "id": "edit_1",
        "status": "succeeded",
        "request": REQUEST,
        "request_digest": REQUEST.digest(),
        "attempt": 1,
        "max_attempts": 3,
        "created_at": NOW,
        "queued_at": NOW,
        "expires_at": NOW,
        "urls": dict.fromkeys(("self", "cancel", "events", "stream", "artifacts", "report"), "/"),
    }
)

Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler) -> Client:
    return Client("http://expunge.test", "key", transport=httpx.MockTransport(handler))


def answering(status: int, content: bytes | str) -> Client:
    return client(lambda request: httpx.Response(status, content=content))


def event(seq: int) -> str:
    data = Event(seq=seq, created_at=EDIT.created_at, type="progress").model_dump_json()
    return f"id: {seq}\nevent: progress\ndata: {data}\n\n"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def artifact(name: str, data: bytes) -> Artifact:
    digest = hashlib.sha256(data).hexdigest()
    return Artifact(name=name, kind="weights", media_type="x/y", size=len(data), sha256=digest, url="/file")


def test_a_submission_carries_the_key_and_its_idempotency_key() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == "Bearer key"
        assert request.headers["Idempotency-Key"] == "mine"
        assert EditRequest.model_validate_json(request.content) == REQUEST
        return httpx.Response(202, content=EDIT.model_dump_json())

    assert client(handler).submit(REQUEST, idempotency_key="mine") == EDIT


def test_a_problem_becomes_an_exception_that_names_the_field() -> None:
    problem = Problem.model_validate(
        {
            "type": "urn:expunge:problem:invalid_request",
            "title": "The request is not valid",
            "status": 422,
            "detail": "d",
            "instance": "/v1/edits",
            "code": "invalid_request",
            "request_id": "r",
            "errors": [
                {"field": "model", "pointer": "/model", "code": "c", "message": "is unknown", "remedy": "Try emoji."}
            ],
        }
    )
    with pytest.raises(ServiceProblem, match=r"model: is unknown. Try emoji.") as caught:
        answering(422, problem.model_dump_json()).submit(REQUEST)
    assert caught.value.problem == problem


@pytest.mark.parametrize(("status", "content"), [(502, b"<html>"), (200, b"<html>")])
def test_something_else_behind_the_url_is_noticed(status: int, content: bytes) -> None:
    with pytest.raises(ClientError):
        answering(status, content).get("edit_1")


def test_no_connection_says_how_to_start_one() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(ServiceUnreachable, match="expunge up"):
        client(refuse).get("edit_1")


def test_a_broken_stream_is_resumed_where_it_broke() -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["Last-Event-ID"])
        if len(asked) == 1:
            return httpx.Response(200, content=event(1) + event(2))
        if len(asked) == 2:
            raise httpx.ReadError("broken")
        return httpx.Response(200, content=event(3) + "event: done\ndata: {}\n\n")

    assert [item.seq for item in client(handler).follow("edit_1")] == [1, 2, 3]
    assert asked == ["0", "2", "2"]


def test_a_stream_that_stays_broken_is_given_up() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("broken")

    with pytest.raises(ServiceUnreachable, match="lost the connection"):
        list(client(handler).follow("edit_1"))


def test_waiting_for_a_job_that_fails_raises() -> None:
    failed = EDIT.model_copy(update={"status": "failed"})

    def handler(request: httpx.Request) -> httpx.Response:
        stream = request.url.path.endswith("stream")
        return httpx.Response(204) if stream else httpx.Response(200, content=failed.model_dump_json())

    with pytest.raises(JobFailed, match="failed"):
        client(handler).wait("edit_1")


def test_a_download_is_whole(tmp_path: Path) -> None:
    path = answering(200, b"weights").download(artifact("text_encoder/model.safetensors", b"weights"), tmp_path)
    assert path == tmp_path / "text_encoder" / "model.safetensors"
    assert path.read_bytes() == b"weights"


def test_a_damaged_download_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DownloadCorrupted):
        answering(200, b"w3ights").download(artifact("delta.safetensors", b"weights"), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", ""])
def test_a_download_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ClientError, match="outside"):
        answering(200, b"x").download(artifact(name, b"x"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
