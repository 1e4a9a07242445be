"""A hundred clients at once: each posts, asks how its job stands, follows it for a moment, downloads what is done."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx

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
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    started = time.monotonic()
    async with httpx.AsyncClient(headers=side.headers, limits=limits, timeout=60, trust_env=False) as http:
        await asyncio.gather(*(_client(http, side, seen, end, done, number) for number in range(clients)))
    seen.wall = time.monotonic() - started
    return seen


async def _client(http: httpx.AsyncClient, side: Side, seen: Seen, end: float, done: list[str], number: int) -> None:
    turn = number
    while time.monotonic() < end:
        turn += 1
        posted = await _timed(seen, "post", lambda: http.post(f"{side.url}{side.jobs}", json=BODY))
        if posted is None or posted.status_code != 202:
            continue
        job_id = str(posted.json()["id"])
        seen.accepted.append(job_id)
        for _ in range(READS):
            await _timed(seen, "get", lambda job_id=job_id: http.get(side.of(job_id)))
        if turn % STREAM_EACH == 0:
            await _timed(seen, "stream", lambda job_id=job_id: _first_message(http, side.of(job_id, "/stream")))
        if done:
            fetched = done[turn % len(done)]
            await _timed(seen, "download", lambda fetched=fetched: http.get(side.of(fetched, side.file)))


async def _first_message(http: httpx.AsyncClient, url: str) -> httpx.Response:
    async with http.stream("GET", url) as response:
        async for line in response.aiter_lines():
            if line.startswith("data:"):
                break
        return response


async def _timed(seen: Seen, kind: str, request: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response | None:
    started = time.perf_counter()
    try:
        response = await request()
    except httpx.HTTPError as error:
        seen.errors.append(f"{kind}: {type(error).__name__}")
        return None
    seen.seconds[kind].append(time.perf_counter() - started)
    if response.status_code >= 400:
        seen.errors.append(f"{kind}: {response.status_code} {response.text[:100]}")
    return response
