"""Disconnected clients, and shutdown with connected clients."""

import asyncio
import io
import signal
import socket
import time
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import psutil

from service.server import DRAIN_SECONDS
from service.store import claims
from service.store.blobs import LocalBlobs
from service.store.claims import StoredArtifact
from service.store.clock import utc_now
from tests.fakes.stack import wait_until
from tests.faults.conftest import ApiProcess

STREAMS = 200
LARGE = 64 << 20


def publish(api: ApiProcess, size: int) -> str:
    """Create an edit with one file of this size and return the file's URL."""
    blob = LocalBlobs(api.data_dir / "blobs").put(io.BytesIO(bytes(size)))
    job_id = api.submit()
    with api.database.write() as session:
        claim = claims.claim(session, job_id, owner="w", lease=timedelta(seconds=30), now=utc_now())
        assert claim
        file = StoredArtifact("weights", "weights", "application/octet-stream", blob.size, blob.sha256)
        assert claims.succeed(session, claim, [file], "0" * 64, None, now=utc_now())
    return f"{api.url}/v1/edits/{job_id}/artifacts/weights"


def test_disconnected_download_closes_its_file(api: ApiProcess) -> None:
    url, process = publish(api, LARGE), psutil.Process(api.process.pid)

    def reading() -> int:
        return sum("sha256" in file.path for file in process.open_files())

    for _ in range(5):
        with httpx.stream("GET", url, headers=api.headers, trust_env=False) as response:
            chunks = response.iter_raw()
            next(chunks)
            assert reading() == 1
        wait_until(lambda: reading() == 0)
    rest = httpx.get(url, headers=api.headers | {"Range": f"bytes={LARGE - 10}-"}, trust_env=False)
    assert (rest.status_code, rest.content) == (206, bytes(10))


def test_open_streams_end_cleanly_on_shutdown(api: ApiProcess) -> None:
    """Each stream ends completely, so its client knows to reconnect with `Last-Event-ID`."""
    url = f"{api.url}/v1/edits/{api.submit()}/stream"

    async def follow(client: httpx.AsyncClient, opened: list[int]) -> str:
        async with client.stream("GET", url) as response:
            assert response.status_code == 200
            lines = []
            async for line in response.aiter_lines():  # This raises if the stream is cut off.
                lines.append(line)
                if line.startswith("id: "):
                    opened.append(1)
            return "\n".join(lines)

    async def all_of_them() -> tuple[list[str], float]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(headers=api.headers, limits=limits, timeout=60, trust_env=False) as client:
            opened: list[int] = []
            tasks = [asyncio.create_task(follow(client, opened)) for _ in range(STREAMS)]
            while len(opened) < STREAMS:
                await asyncio.sleep(0.05)
                assert not any(task.done() for task in tasks)
            asked = time.monotonic()
            api.process.send_signal(signal.SIGTERM)
            return list(await asyncio.gather(*tasks)), asked

    texts, asked = asyncio.run(all_of_them())
    assert all("id: 1" in text and "event: done" not in text for text in texts)
    assert api.process.wait(30) in (0, -signal.SIGTERM)  # uvicorn ends with the signal after a clean shutdown.
    assert time.monotonic() - asked < 2 * DRAIN_SECONDS + 5


def test_header_flood_needs_no_memory(api: ApiProcess) -> None:
    """150 MB of unfinished headers are refused after their first 32 KB."""
    process, address = psutil.Process(api.process.pid), urlsplit(api.url)
    before, refused = process.memory_info().rss, 0
    connections = [socket.create_connection((address.hostname, address.port), timeout=10) for _ in range(30)]
    for connection in connections:
        try:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
            for _ in range(5):
                connection.sendall(b"a" * (1 << 20))
        except ConnectionError:
            refused += 1
        else:
            refused += b" 431 " in connection.recv(100)
    assert refused == 30
    assert process.memory_info().rss - before < 20 << 20
    assert httpx.get(f"{api.url}/healthz", trust_env=False).is_success
    for connection in connections:
        connection.close()
