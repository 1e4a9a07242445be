"""Bytes of an artifact over HTTP: Range, ETag, HEAD (RFC 9110)."""

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fastapi import Request, Response
from starlette.responses import StreamingResponse

from service.errors import RangeNotSatisfiable
from service.store.schema import Artifact

_ONE_RANGE = re.compile(r"bytes=(?P<first>\d*)-(?P<last>\d*)", re.IGNORECASE)

Content = Callable[[int, int], Iterator[bytes]]
"""Bytes from a start to an end (exclusive), in chunks."""

NEVER_CHANGES = "private, max-age=31536000, immutable"
NO_SCRIPTS = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"


@dataclass(frozen=True)
class Span:
    """Bytes `start` to `end`, exclusive."""

    start: int
    end: int


def download(content: Content, artifact: Artifact, request: Request) -> Response:
    """The reply to a GET or HEAD of an artifact: 200, 206 or 304. Raises `RangeNotSatisfiable`."""
    headers = _headers(artifact)
    etag = headers["ETag"]
    if etag in re.split(r"\s*,\s*", request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    span, status = Span(0, artifact.size), 200
    if request.headers.get("if-range", etag) == etag:
        wanted = parse_range(request.headers.get("range", ""), artifact.size)
        span, status = (wanted, 206) if wanted else (span, status)
    if status == 206:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{artifact.size}"
    headers["Content-Length"] = str(span.end - span.start)
    body = content(span.start, span.start if request.method == "HEAD" else span.end)
    return StreamingResponse(body, status, headers, artifact.media_type)


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


def _headers(artifact: Artifact) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
    return {
        "ETag": f'"{artifact.sha256}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "Accept-Ranges": "bytes",
        "Cache-Control": NEVER_CHANGES,
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": NO_SCRIPTS,
    }
