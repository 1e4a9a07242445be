"""Clients that leave, and a service that leaves its clients."""

import asyncio
import io
import signal
import time
from datetime import timedelta

import httpx
import psutil

from service.server import DRAIN_SECONDS
from service.store import claims
from service.store.blobs import LocalBlobs
from service.store.claims import StoredArtifact
from service.store.clock import utc_now
from tests.fakes.stack import eventually
from tests.faults.conftest import Api

STREAMS = 200
LARGE = 64 << 20


def publish(api: Api, size: int) -> str:
    """An edit with one file of so many bytes. Returns the file's path."""
    blob = LocalBlobs(api.data_dir / "blobs").put(io.BytesIO(bytes(size)))
    job_id = api.submit()
    with api.database.write() as session:
        claim = claims.claim(session, job_id, owner="w", lease=timedelta(seconds=30), now=utc_now())
        assert claim
        file = StoredArtifact("weights", "weights", "application/octet-stream", blob.size, blob.sha256)
        assert claims.succeed(session, claim, [file], "0" * 64, None, now=utc_now())
    return f"{api.url}/v1/edits/{job_id}/artifacts/weights"


def test_a_client_that_is_gone_in_the_middle_of_a_download_leaves_nothing_open(api: Api) -> None:
    url, process = publish(api, LARGE), psutil.Process(api.process.pid)

    def reading() -> int:
        return sum("sha256" in file.path for file in process.open_files())

    for _ in range(5):
        with httpx.stream("GET", url, headers=api.headers, trust_env=False) as response:
            chunks = response.iter_raw()
            next(chunks)
            assert reading() == 1
        eventually(lambda: reading() == 0)
    rest = httpx.get(url, headers=api.headers | {"Range": f"bytes={LARGE - 10}-"}, trust_env=False)
    assert (rest.status_code, rest.content) == (206, bytes(10))


def test_200_open_streams_end_in_order_when_the_service_stops(api: Api) -> None:
    """Each ends whole, so its client knows that it may come back with `Last-Event-ID`; the process does not wait for them."""
    url = f"{api.url}/v1/edits/{api.submit()}/stream"

    async def follow(client: httpx.AsyncClient, opened: list[int]) -> str:
        async with client.stream("GET", url) as response:
            assert response.status_code == 200
            lines = []
            async for line in response.aiter_lines():  # raises when the stream is cut off instead of ended
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
    assert api.process.wait(30) in (0, -signal.SIGTERM)  # uvicorn ends by the signal once all is done
    assert time.monotonic() - asked < 2 * DRAIN_SECONDS + 5
