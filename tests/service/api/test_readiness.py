"""Readiness while the database, the broker or the bucket is hung or dead."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest
import uvicorn

from service.api.app import create_app
from service.api.readiness import NO_RESPONSE
from service.core.app_state import AppState
from service.store.database import Database
from service.store.s3 import S3Blobs

CHECKS = ("database", "broker", "blobs")


@pytest.fixture(params=["hung", "dead"])
def unavailable_server(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """A port that accepts connections and never answers, or one that is closed."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        port = listener.getsockname()[1]
        if request.param == "dead":
            listener.close()
        yield request.param, port


def with_server(app_state: AppState, check: str, port: int, monkeypatch: pytest.MonkeyPatch) -> AppState:
    """Return the state with one of its servers at the port."""
    if check == "database":
        return replace(app_state, database=Database(f"postgresql://u:secret@127.0.0.1:{port}/d"))
    if check == "broker":
        settings = app_state.settings.model_copy(update={"broker_url": f"redis://:secret@127.0.0.1:{port}/0"})
        return replace(app_state, settings=settings)
    for name, value in {
        "ENDPOINT": f"http://127.0.0.1:{port}",
        "ACCESS_KEY_ID": "a",
        "SECRET_ACCESS_KEY": "secret",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return replace(app_state, blobs=S3Blobs("s3://bucket/prefix"))


@pytest.mark.parametrize("check", CHECKS)
def test_unavailable_server_does_not_block_other_requests(
    app_state: AppState,
    api_key: str,
    check: str,
    unavailable_server: tuple[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state, port = unavailable_server
    app = create_app(with_server(app_state, check, port, monkeypatch))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            headers = {"Authorization": f"Bearer {api_key}"}
            with (
                ThreadPoolExecutor(40) as executor,
                httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=20) as http,
            ):
                probes = [executor.submit(http.get, "/readyz") for _ in range(40)]
                time.sleep(0.3)
                started = time.monotonic()
                assert http.get("/healthz").status_code == 200
                if check != "database":
                    assert http.get("/v1/edits").status_code == http.get("/metrics").status_code == 200
                others_seconds = time.monotonic() - started
                replies = [probe.result() for probe in probes]
                readiness_threads = [thread for thread in threading.enumerate() if thread.name == "readiness"]
        finally:
            server.should_exit = True
            thread.join()
    outcomes = {reply.json()["checks"][check] for reply in replies}
    assert {reply.status_code for reply in replies} == {503}
    assert outcomes == {NO_RESPONSE} if state == "hung" else "ok" not in outcomes and NO_RESPONSE not in outcomes
    assert all(reply.json()["checks"][other] == "ok" for reply in replies for other in CHECKS if other != check)
    assert not any("secret" in reply.text for reply in replies)
    assert max(reply.elapsed.total_seconds() for reply in replies) < 10
    assert others_seconds < 10
    assert len(readiness_threads) <= 4
