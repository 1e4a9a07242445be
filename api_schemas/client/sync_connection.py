"""The synchronous connection, generated from `async_connection.py` by `generate_sync_client.py`. Edit those instead."""

import time
from collections.abc import Iterator
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


class Connection:
    """Connection to one service with one API key. `transport` replaces httpx's, for tests."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        api_key: str = "",
        *,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, headers=auth_headers(api_key), timeout=timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def request(self, kind: type[Parsed], method: str, path: str, **options: Any) -> Parsed:
        """Send a request and parse its response. For routes without a method of their own."""
        return parse(kind, self.send(method, path, **options), self.url)

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request. Retries safe requests if the service is busy or unreachable."""
        attempt = 1
        while True:
            response, error = None, None
            try:
                with translate_transport_errors(self.url):
                    response = self._http.request(method, path, **options)
            except ServiceUnreachable as unreachable:
                error = unreachable
            delay = retry_delay(method, options.get("headers", {}), response, attempt)
            if delay is None or (error is None and response is not None and response.is_success):
                break
            time.sleep(delay)
            attempt += 1
        if response is None:
            assert error
            raise error
        return response

    def paginate(self, kind: type[Page[Parsed]], path: str, filters: dict[str, Any]) -> Iterator[Parsed]:
        """Iterate over all items of a paginated list."""
        selected = query_params(filters)
        while True:
            page = self.request(kind, "GET", path, params=selected)
            for item in page.data:
                yield item
            if page.next_cursor is None:
                return
            selected["after"] = page.next_cursor

    def stream(self, path: str, after: int) -> Iterator[Event | None]:
        """Read events over one connection. Yields None at the end of the job."""
        headers = {"Last-Event-ID": str(after), "Accept": "text/event-stream"}
        with translate_transport_errors(self.url):
            with self._http.stream("GET", path, headers=headers) as response:
                if not response.is_success:
                    response.read()
                raise_for_problem(response)
                if response.status_code == httpx.codes.NO_CONTENT:
                    yield None
                parser = EventStreamParser()
                for line in response.iter_lines():
                    if message := parser.feed(line):
                        yield None if message.event == STREAM_END else Event.model_validate_json(message.data)

    def follow(self, path: str, after: int) -> Iterator[Event]:
        """Follow the events of a stream from `after` to the last one, each once and in order. Reconnects if it breaks."""
        attempts = 0
        while attempts < MAX_RECONNECTS:
            try:
                for event in self.stream(path, after):
                    if event is None:
                        return
                    after, attempts = event.seq, 0
                    yield event
            except ServiceUnreachable:
                attempts += 1
            time.sleep(min(0.1 * 2**attempts, 2.0))
        raise ServiceUnreachable(f"Lost the connection to {self.url}.", remedy="Check that the service is running.")

    def download(self, artifact: Artifact, folder: Path) -> Path:
        """Download a file to `folder`, atomically and with resumption. Raises `DownloadCorrupted`."""
        part = PartialDownload(artifact, folder)
        for attempt in range(1, MAX_TRIES + 1):
            try:
                if not part.complete:
                    self.download_part(artifact.url, part)
                break
            except ServiceUnreachable:
                if attempt == MAX_TRIES:
                    raise
                time.sleep(min(0.1 * 2**attempt, 2.0))
        return part.finish()

    def download_part(self, path: str, part: PartialDownload) -> None:
        """Download the missing bytes of a file over one connection."""
        with translate_transport_errors(self.url):
            with self._http.stream("GET", path, headers=part.headers(), follow_redirects=True) as response:
                if not response.is_success:
                    response.read()
                raise_for_problem(response)
                with part.receiving(response) as file:
                    for chunk in response.iter_bytes():
                        file.write(chunk)
