"""File responses with Range, ETag and HEAD support (RFC 9110)."""

import base64
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from fastapi import Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.errors import PreconditionFailed, RangeNotSatisfiable

_RANGE_HEADER = re.compile(r"bytes=(?P<first>[0-9]*)-(?P<last>[0-9]*)", re.IGNORECASE)
MAX_POSITION = 10**18
"""No file is larger, in bytes. Larger positions of a Range header are read as this one."""

RangeReader = Callable[[int, int], Iterator[bytes]]
"""Returns the bytes from a start to an end (exclusive) in chunks."""

MAX_BUFFERED_BYTES = 262_144
"""Files up to this size are sent as one body, which is cheaper than a stream."""
IMMUTABLE_CACHE = "private, max-age=31536000, immutable"
CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"

ResponseSpecs: TypeAlias = dict[int | str, dict[str, Any]]
"""Responses of a route in the OpenAPI document, by status."""
NOT_MODIFIED = {"description": "Not modified: the client has the current version."}
ANY_CONTENT: dict[str, Any] = {"application/json": {"schema": {}}, "*/*": {}}
"""Content of a route that serves files of any type."""


REDIRECTED = {"description": "The file is in a bucket; `Location` is its presigned URL."}


def download_responses(whole: dict[str, Any], redirected: bool = False) -> ResponseSpecs:
    """Describe the responses of a route that returns `file_response`. `whole` is the content of complete files."""
    part = {"description": "The requested range.", "content": {"*/*": {}}}
    redirect: ResponseSpecs = {307: REDIRECTED} if redirected else {}
    return {200: {"content": whole}, 206: part, 304: NOT_MODIFIED, **redirect}


class FileInfo(Protocol):
    """Size, digest and type of a file."""

    @property
    def size(self) -> int:
        """Size in bytes."""

    @property
    def sha256(self) -> str:
        """Digest as 64 hexadecimal digits."""

    @property
    def media_type(self) -> str:
        """Value of the Content-Type header."""


@dataclass(frozen=True)
class ByteRange:
    """Bytes `start` to `end`, exclusive."""

    start: int
    end: int


class ClosingStreamingResponse(StreamingResponse):
    """Closes its source when the client disconnects, instead of leaving the file open until garbage collection."""

    def __init__(self, source: Iterator[bytes], status: int, headers: Mapping[str, str], media_type: str) -> None:
        super().__init__(source, status, headers, media_type)
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, then close the source."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if isinstance(self._source, Generator):
                self._source.close()


def file_response(content: RangeReader, file: FileInfo, request: Request) -> Response:
    """Return the response to a GET or HEAD of a file: 200, 206 or 304. Raises `PreconditionFailed`, `RangeNotSatisfiable`."""
    headers = _headers(file)
    etag = headers["ETag"]
    if not _if_match_holds(request.headers.get("if-match"), etag):
        raise PreconditionFailed(
            f"The file's ETag is {etag}.", remedy="Read the list of files again.", headers={"ETag": etag}
        )
    if etag_matches(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    span, status = ByteRange(0, file.size), 200
    if request.headers.get("if-range", etag) == etag:
        requested = parse_range(request.headers.get("range", ""), file.size)
        span, status = (requested, 206) if requested else (span, status)
    if status == 206:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{file.size}"
    headers["Content-Length"] = str(span.end - span.start)
    body = content(span.start, span.start if request.method == "HEAD" else span.end)
    if span.end - span.start <= MAX_BUFFERED_BYTES:
        return Response(b"".join(body), status, headers, file.media_type)
    return ClosingStreamingResponse(body, status, headers, file.media_type)


def _if_match_holds(if_match: str | None, etag: str) -> bool:
    """Return whether If-Match is absent or contains the ETag, by strong comparison (RFC 9110, 13.1.1)."""
    return if_match is None or if_match.strip() == "*" or etag in [tag.strip() for tag in if_match.split(",")]


def etag_matches(if_none_match: str, etag: str) -> bool:
    """Return whether If-None-Match contains the ETag, by weak comparison (RFC 9110, 13.1.2)."""
    etags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in etags or etags == ["*"]


def parse_range(header: str, size: int) -> ByteRange | None:
    """Return the requested range of a file of `size` bytes; None means the whole file.

    Unknown units and requests for several ranges are ignored, as the RFC allows. Raises `RangeNotSatisfiable`.
    """
    match = _RANGE_HEADER.fullmatch(header.strip())
    if match is None or not (match["first"] or match["last"]):
        return None
    first, last = _parse_position(match["first"]), _parse_position(match["last"])
    if first is not None and last is not None and last < first:
        return None
    if first is not None:
        start, end = first, size if last is None else min(last + 1, size)
    else:
        start, end = max(size - (last or 0), 0), size
    if start >= end:
        raise RangeNotSatisfiable(
            f"The file has {size} bytes.",
            remedy="Request a range within the file.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return ByteRange(start, end)


def _parse_position(digits: str) -> int | None:
    """Return the position, or `MAX_POSITION` if it has too many digits: Python does not convert numbers of any length."""
    if not digits:
        return None
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) < len(str(MAX_POSITION)) else MAX_POSITION


def _headers(file: FileInfo) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(file.sha256)).decode()
    return {
        "ETag": f'"{file.sha256}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "Accept-Ranges": "bytes",
        "Cache-Control": IMMUTABLE_CACHE,
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    }
