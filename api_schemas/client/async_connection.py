"""The HTTP connection of the asynchronous client. `sync_connection.py` is generated from it by `generate_sync_client.py`."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from api_schemas.client.transport import (
    DEFAULT_URL,
    MAX_RECONNECTS,
    MAX_TRIES,
    Parsed,
    PartialDownload,
    auth_headers,
    parse,
    query_params,
    raise_for_problem,
    retry_delay,
    translate_transport_errors,
)
from api_schemas.errors import ServiceUnreachable
from api_schemas.events import STREAM_END, Event
from api_schemas.jobs import Artifact, Page
from api_schemas.sse import EventStreamParser


class AsyncConnection:
    """Connection to one service with one API key. `transport` replaces httpx's, for tests."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        api_key: str = "",
        *,
        timeout: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url
        self._http = httpx.AsyncClient(
            base_url=url, headers=auth_headers(api_key), timeout=timeout, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def request(self, kind: type[Parsed], method: str, path: str, **options: Any) -> Parsed:
        """Send a request and parse its response. For routes without a method of their own."""
        return parse(kind, await self.send(method, path, **options), self.url)

    async def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request. Retries safe requests if the service is busy or unreachable."""
        attempt = 1
        while True:
            response, error = None, None
            try:
                with translate_transport_errors(self.url):
                    response = await self._http.request(method, path, **options)
            except ServiceUnreachable as unreachable:
                error = unreachable
            delay = retry_delay(method, options.get("headers", {}), response, attempt)
            if delay is None or (error is None and response is not None and response.is_success):
                break
            await asyncio.sleep(delay)
            attempt += 1
        if response is None:
            assert error
            raise error
        return response

    async def paginate(self, kind: type[Page[Parsed]], path: str, filters: dict[str, Any]) -> AsyncIterator[Parsed]:
        """Iterate over all items of a paginated list."""
        selected = query_params(filters)
        while True:
            page = await self.request(kind, "GET", path, params=selected)
            for item in page.data:
                yield item
            if page.next_cursor is None:
                return
            selected["after"] = page.next_cursor

    async def stream(self, path: str, after: int) -> AsyncIterator[Event | None]:
        """Read events over one connection. Yields None at the end of the job."""
        headers = {"Last-Event-ID": str(after), "Accept": "text/event-stream"}
        with translate_transport_errors(self.url):
            async with self._http.stream("GET", path, headers=headers) as response:
                if not response.is_success:
                    await response.aread()
                raise_for_problem(response)
                if response.status_code == httpx.codes.NO_CONTENT:
                    yield None
                parser = EventStreamParser()
                async for line in response.aiter_lines():
                    if message := parser.feed(line):
                        yield None if message.event == STREAM_END else Event.model_validate_json(message.data)

    async def follow(self, path: str, after: int) -> AsyncIterator[Event]:
        """Follow the events of a stream from `after` to the last one, each once and in order. Reconnects if it breaks."""
        attempts = 0
        while attempts < MAX_RECONNECTS:
            try:
                async for event in self.stream(path, after):
                    if event is None:
                        return
                    after, attempts = event.seq, 0
                    yield event
            except ServiceUnreachable:
                attempts += 1
            await asyncio.sleep(min(0.1 * 2**attempts, 2.0))
        raise ServiceUnreachable(f"Lost the connection to {self.url}.", remedy="Check that the service is running.")

    async def download(self, artifact: Artifact, folder: Path) -> Path:
        """Download a file to `folder`, atomically and with resumption. Raises `DownloadCorrupted`."""
        part = PartialDownload(artifact, folder)
        for attempt in range(1, MAX_TRIES + 1):
            try:
                if not part.complete:
                    await self.download_part(artifact.url, part)
                break
            except ServiceUnreachable:
                if attempt == MAX_TRIES:
                    raise
                await asyncio.sleep(min(0.1 * 2**attempt, 2.0))
        return part.finish()

    async def download_part(self, path: str, part: PartialDownload) -> None:
        """Download the missing bytes of a file over one connection."""
        with translate_transport_errors(self.url):
            async with self._http.stream("GET", path, headers=part.headers(), follow_redirects=True) as response:
                if not response.is_success:
                    await response.aread()
                raise_for_problem(response)
                with part.receiving(response) as file:
                    async for chunk in response.aiter_bytes():
                        file.write(chunk)
