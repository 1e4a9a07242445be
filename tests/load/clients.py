"""A hundred clients at once: each posts, asks how its job stands, follows it for a moment, downloads what is done.

aiohttp, because its parsers are in C: the clients share the cores with what they load, and httpx would take more of them than
the services do.
"""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, TCPConnector

from tests.load.sides import BODY, Side

CLIENTS = 100
READS, STREAM_EACH = 4, 5
"""Reads after each POST; and one POST in so many is followed by its stream."""


@dataclass
class Seen:
    """Seconds of each request by its kind, what was accepted, and what went wrong."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    accepted: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    wall: float = 0.0

    def percentile(self, kind: str, share: float) -> float:
        """In milliseconds."""
        ordered = sorted(self.seconds[kind])
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def load(side: Side, seconds: float, done: list[str], clients: int = CLIENTS) -> Seen:
    """Load for so long. `done` are jobs whose file can be downloaded."""
    return asyncio.run(_load(side, seconds, done, clients))


async def _load(side: Side, seconds: float, done: list[str], clients: int) -> Seen:
    seen, end = Seen(), time.monotonic() + seconds
    started = time.monotonic()
    async with ClientSession(
        headers=side.headers, connector=TCPConnector(limit=0), timeout=ClientTimeout(total=60)
    ) as http:
        await asyncio.gather(*(_client(http, side, seen, end, done, number) for number in range(clients)))
    seen.wall = time.monotonic() - started
    return seen


async def _client(http: ClientSession, side: Side, seen: Seen, end: float, done: list[str], number: int) -> None:
    turn = number
    while time.monotonic() < end:
        turn += 1
        posted = await _timed(seen, "post", http.post(f"{side.url}{side.jobs}", json=BODY))
        if posted is None:
            continue
        job_id = str(json.loads(posted)["id"])
        seen.accepted.append(job_id)
        for _ in range(READS):
            await _timed(seen, "get", http.get(side.of(job_id)))
        if turn % STREAM_EACH == 0:
            await _timed(seen, "stream", http.get(side.of(job_id, "/stream")), _first_message)
        if done:
            await _timed(seen, "download", http.get(side.of(done[turn % len(done)], side.file)))


async def _first_message(response: ClientResponse) -> bytes:
    async for line in response.content:
        if line.startswith(b"data:"):
            return line
    return b""


async def _timed(
    seen: Seen,
    kind: str,
    request: AbstractAsyncContextManager[ClientResponse],
    read: Callable[[ClientResponse], Awaitable[bytes]] = ClientResponse.read,
) -> bytes | None:
    """What came; None where it was no success."""
    started = time.perf_counter()
    try:
        async with request as response:
            body = await read(response)
            if response.status >= 400:
                seen.errors.append(f"{kind}: {response.status} {body[:100]!r}")
                return None
    except (ClientError, TimeoutError) as error:
        seen.errors.append(f"{kind}: {type(error).__name__}")
        return None
    seen.seconds[kind].append(time.perf_counter() - started)
    return body
