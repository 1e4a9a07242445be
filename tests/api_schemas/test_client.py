"""The client against a misbehaving service."""

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from api_schemas.client import AsyncClient, Client
from api_schemas.client.generate_sync_client import TARGETS, make_sync
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


def client_with_response(status: int, content: bytes | str) -> Client:
    return client(lambda request: httpx.Response(status, content=content))


def event(seq: int) -> str:
    data = Event(seq=seq, created_at=EDIT.created_at, type="progress").model_dump_json()
    return f"id: {seq}\nevent: progress\ndata: {data}\n\n"


@pytest.fixture(autouse=True)
def _no_retry_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def artifact(name: str, data: bytes) -> Artifact:
    digest = hashlib.sha256(data).hexdigest()
    return Artifact(name=name, kind="weights", media_type="x/y", size=len(data), sha256=digest, url="/file")


def test_create_sends_api_key_and_idempotency_key() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == "Bearer key"
        assert request.headers["Idempotency-Key"] == "mine"
        assert EditRequest.model_validate_json(request.content) == REQUEST
        return httpx.Response(202, content=EDIT.model_dump_json())

    assert client(handler).edits.create(REQUEST, idempotency_key="mine").model_dump() == EDIT.model_dump()


def test_problem_is_raised_with_its_field() -> None:
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
        client_with_response(422, problem.model_dump_json()).edits.create(REQUEST)
    assert caught.value.problem == problem


@pytest.mark.parametrize(("status", "content"), [(502, b"<html>"), (200, b"<html>")])
def test_response_of_another_service_is_rejected(status: int, content: bytes) -> None:
    with pytest.raises(ClientError):
        client_with_response(status, content).edits.get("edit_1")


def test_unreachable_service_suggests_expunge_up() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(ServiceUnreachable, match="expunge up"):
        client(refuse).edits.get("edit_1")


def test_broken_stream_is_resumed() -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["Last-Event-ID"])
        if len(asked) == 1:
            return httpx.Response(200, content=event(1) + event(2))
        if len(asked) == 2:
            raise httpx.ReadError("broken")
        return httpx.Response(200, content=event(3) + "event: done\ndata: {}\n\n")

    assert [item.seq for item in client(handler).edits.follow("edit_1")] == [1, 2, 3]
    assert asked == ["0", "2", "2"]


def test_stream_gives_up_after_max_reconnects() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("broken")

    with pytest.raises(ServiceUnreachable, match="Lost the connection"):
        list(client(handler).edits.follow("edit_1"))


def test_wait_raises_if_the_job_failed() -> None:
    failed = EDIT.model_copy(update={"status": "failed"})

    def handler(request: httpx.Request) -> httpx.Response:
        stream = request.url.path.endswith("stream")
        return httpx.Response(204) if stream else httpx.Response(200, content=failed.model_dump_json())

    with pytest.raises(JobFailed, match="failed"):
        client(handler).edits.get("edit_1").wait()


def test_download_is_complete(tmp_path: Path) -> None:
    path = client_with_response(200, b"weights").edits.download(
        artifact("text_encoder/model.safetensors", b"weights"), tmp_path
    )
    assert path == tmp_path / "text_encoder" / "model.safetensors"
    assert path.read_bytes() == b"weights"


def test_corrupted_download_is_deleted(tmp_path: Path) -> None:
    with pytest.raises(DownloadCorrupted):
        client_with_response(200, b"w3ights").edits.download(artifact("delta.safetensors", b"weights"), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", ""])
def test_download_stays_inside_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ClientError, match="outside"):
        client_with_response(200, b"x").edits.download(artifact(name, b"x"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("source", TARGETS, ids=lambda source: str(source.stem))
def test_sync_client_is_generated_from_async_client(source: Path) -> None:
    """If this fails, run `python api_schemas/client/generate_sync_client.py` and `make format`."""
    generated = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--stdin-filename", TARGETS[source].name, "-"],
        input=make_sync(source),
        capture_output=True,
        text=True,
        check=True,
    )
    assert TARGETS[source].read_text() == generated.stdout


def test_async_client(tmp_path: Path) -> None:
    data = b"weights"
    done = EDIT.model_copy(update={"artifacts": [artifact("delta.safetensors", data)]})

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("stream"):
            return httpx.Response(200, content=event(1) + "event: done\ndata: {}\n\n")
        return httpx.Response(200, content=data if request.url.path == "/file" else done.model_dump_json())

    async def run() -> tuple[list[int], list[Path]]:
        seen: list[int] = []
        async with AsyncClient("http://expunge.test", transport=httpx.MockTransport(handler)) as remote:
            edit = await remote.edits.create(REQUEST)
            edit = await edit.wait(lambda one: seen.append(one.seq))
            return seen, list(await edit.download(tmp_path))

    seen, paths = asyncio.run(run())
    assert seen == [1]
    assert [path.read_bytes() for path in paths] == [data]


def test_interrupted_download_is_resumed(tmp_path: Path) -> None:
    data, asked = bytes(range(250)), list[str | None]()
    file = artifact("delta.safetensors", data)

    def broken_stream() -> Iterator[bytes]:
        yield data[:100]
        raise httpx.ReadError("broken")

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("Range"))
        if len(asked) == 1:
            return httpx.Response(200, content=broken_stream())
        assert request.headers["If-Range"] == f'"{file.sha256}"'
        return httpx.Response(206, content=data[100:])

    assert client(handler).edits.download(file, tmp_path).read_bytes() == data
    assert asked == [None, "bytes=100-"]


def test_partial_download_of_another_file_is_not_resumed(tmp_path: Path) -> None:
    """A service that does not know the validator sends the whole file."""
    data = bytes(range(250))
    file = artifact("delta.safetensors", data)
    (tmp_path / f".{file.name}.{file.sha256[:16]}.part").write_bytes(b"x" * 30)
    assert client_with_response(200, data).edits.download(file, tmp_path).read_bytes() == data


@pytest.mark.parametrize(("status", "tries"), [(429, 5), (503, 5), (500, 1), (404, 1)])
def test_request_is_retried_if_the_service_is_busy(status: int, tries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    problem = Problem(
        type="urn:expunge:problem:x", title="t", status=status, detail="d", instance="/", code="x", request_id="r"
    )
    asked = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["Idempotency-Key"])
        return httpx.Response(status, content=problem.model_dump_json(), headers={"Retry-After": "7"})

    with pytest.raises(ServiceProblem):
        client(handler).edits.create(REQUEST)
    assert len(asked) == tries
    assert len(set(asked)) == 1
    assert pauses == [7.0] * (tries - 1)


def test_lists_are_paginated() -> None:
    pages = {None: (["edit_3", "edit_2"], "edit_2"), "edit_2": (["edit_1"], None)}

    def handler(request: httpx.Request) -> httpx.Response:
        assert request.url.params["status"] == "failed"
        ids, following = pages[request.url.params.get("after")]
        data = [EDIT.model_copy(update={"id": one}).model_dump(mode="json") for one in ids]
        return httpx.Response(200, json={"data": data, "has_more": bool(following), "next_cursor": following})

    assert [edit.id for edit in client(handler).edits.list(status="failed")] == ["edit_3", "edit_2", "edit_1"]
