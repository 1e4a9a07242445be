"""Bytes of an artifact over HTTP: Range, ETag, HEAD (RFC 9110)."""

import base64
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from fastapi import Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.errors import RangeNotSatisfiable

_ONE_RANGE = re.compile(r"bytes=(?P<first>\d*)-(?P<last>\d*)", re.IGNORECASE)

Content = Callable[[int, int], Iterator[bytes]]
"""Bytes from a start to an end (exclusive), in chunks."""

AT_ONCE = 262_144
"""Bytes that are read and sent in one go: a stream costs more than they do."""
NEVER_CHANGES = "private, max-age=31536000, immutable"
NO_SCRIPTS = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"

Replies: TypeAlias = dict[int | str, dict[str, Any]]
"""What a route says of its replies in the contract, by their status."""
NOTHING_NEW = {"description": "The client has it already."}
ANY_FILE: dict[str, Any] = {"application/json": {"schema": {}}, "*/*": {}}
"""Of a route to files of all kinds: those that are JSON hold any JSON, the others any bytes."""


def replies(whole: dict[str, Any]) -> Replies:
    """What a route says whose answer is a `download`. `whole`: the media types of whole files, described."""
    part = {"description": "The part that `Range` asked for.", "content": {"*/*": {}}}
    return {200: {"content": whole}, 206: part, 304: NOTHING_NEW}


class Described(Protocol):
    """What is known of a file before it is read."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def sha256(self) -> str:
        """64 hexadecimal digits."""

    @property
    def media_type(self) -> str:
        """What Content-Type says."""


@dataclass(frozen=True)
class Span:
    """Bytes `start` to `end`, exclusive."""

    start: int
    end: int


class Download(StreamingResponse):
    """Closes what it reads from when the client is gone; else the file stays open until somebody collects garbage."""

    def __init__(self, source: Iterator[bytes], status: int, headers: Mapping[str, str], media_type: str) -> None:
        super().__init__(source, status, headers, media_type)
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, as far as anybody listens."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if isinstance(self._source, Generator):
                self._source.close()


def download(content: Content, file: Described, request: Request) -> Response:
    """The reply to a GET or HEAD of a file: 200, 206 or 304. Raises `RangeNotSatisfiable`."""
    headers = _headers(file)
    etag = headers["ETag"]
    if matches(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    span, status = Span(0, file.size), 200
    if request.headers.get("if-range", etag) == etag:
        wanted = parse_range(request.headers.get("range", ""), file.size)
        span, status = (wanted, 206) if wanted else (span, status)
    if status == 206:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{file.size}"
    headers["Content-Length"] = str(span.end - span.start)
    body = content(span.start, span.start if request.method == "HEAD" else span.end)
    if span.end - span.start <= AT_ONCE:
        return Response(b"".join(body), status, headers, file.media_type)
    return Download(body, status, headers, file.media_type)


def matches(if_none_match: str, etag: str) -> bool:
    """Whether the client has this very representation; validators are compared weakly (RFC 9110, 13.1.2)."""
    given = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in given or given == ["*"]


def parse_range(header: str, size: int) -> Span | None:
    """The part of `size` bytes that a Range header asks for; None means all of it.

    A header that we do not understand, or that asks for several ranges, is ignored, as the RFC allows.
    Raises `RangeNotSatisfiable`.
    """
    match = _ONE_RANGE.fullmatch(header.strip())
    if match is None or not (match["first"] or match["last"]):
        return None
    if match["first"]:
        start, end = int(match["first"]), min(int(match["last"] or size) + 1, size)
    else:
        start, end = max(size - int(match["last"]), 0), size
    if match["first"] and match["last"] and int(match["last"]) < start:
        return None
    if start >= end:
        raise RangeNotSatisfiable(f"the file has {size} bytes.", headers={"Content-Range": f"bytes */{size}"})
    return Span(start, end)


def _headers(file: Described) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(file.sha256)).decode()
    return {
        "ETag": f'"{file.sha256}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "Accept-Ranges": "bytes",
        "Cache-Control": NEVER_CHANGES,
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": NO_SCRIPTS,
    }
