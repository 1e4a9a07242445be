"""Concurrent clients, each of which submits jobs, polls them, follows a stream and downloads a file.

Uses aiohttp, whose parsers are written in C: the clients share the cores with the services, and httpx would use more of them
than the services do.
"""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, TCPConnector

from tests.load.services import BODY, Service

DEFAULT_CLIENTS = 100
READS_PER_POST, POSTS_PER_STREAM = 4, 5
"""Number of reads per POST, and number of POSTs per followed stream."""


@dataclass
class Measurements:
    """Durations in seconds by kind of request, accepted job ids, and errors."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    accepted: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    wall: float = 0.0

    def percentile(self, kind: str, share: float) -> float:
        """Return a percentile in milliseconds."""
        ordered = sorted(self.seconds[kind])
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def load(service: Service, seconds: float, done: list[str], clients: int = DEFAULT_CLIENTS) -> Measurements:
    """Load the service for `seconds`. `done` has jobs whose file can be downloaded."""
    return asyncio.run(_load(service, seconds, done, clients))


async def _load(service: Service, seconds: float, done: list[str], clients: int) -> Measurements:
    measurements, end = Measurements(), time.monotonic() + seconds
    started = time.monotonic()
    async with ClientSession(
        headers=service.headers, connector=TCPConnector(limit=0), timeout=ClientTimeout(total=60)
    ) as http:
        await asyncio.gather(*(_client(http, service, measurements, end, done, number) for number in range(clients)))
    measurements.wall = time.monotonic() - started
    return measurements


async def _client(
    http: ClientSession, service: Service, measurements: Measurements, end: float, done: list[str], number: int
) -> None:
    turn = number
    while time.monotonic() < end:
        turn += 1
        posted = await _measure_request(measurements, "post", http.post(f"{service.url}{service.jobs}", json=BODY))
        if posted is None:
            continue
        job_id = str(json.loads(posted)["id"])
        measurements.accepted.append(job_id)
        for _ in range(READS_PER_POST):
            await _measure_request(measurements, "get", http.get(service.of(job_id)))
        if turn % POSTS_PER_STREAM == 0:
            await _measure_request(measurements, "stream", http.get(service.of(job_id, "/stream")), _first_message)
        if done:
            await _measure_request(measurements, "download", http.get(service.of(done[turn % len(done)], service.file)))


async def _first_message(response: ClientResponse) -> bytes:
    async for line in response.content:
        if line.startswith(b"data:"):
            return line
    return b""


async def _measure_request(
    measurements: Measurements,
    kind: str,
    request: AbstractAsyncContextManager[ClientResponse],
    read: Callable[[ClientResponse], Awaitable[bytes]] = ClientResponse.read,
) -> bytes | None:
    """Return the body, or None if the request failed."""
    started = time.perf_counter()
    try:
        async with request as response:
            body = await read(response)
            if response.status >= 400:
                measurements.errors.append(f"{kind}: {response.status} {body[:100]!r}")
                return None
    except (ClientError, TimeoutError) as error:
        measurements.errors.append(f"{kind}: {type(error).__name__}")
        return None
    measurements.seconds[kind].append(time.perf_counter() - started)
    return body
