"""uvicorn's HTTP protocol with limits on the head of a request and on the time that a request takes to arrive.

uvicorn has no such options for its fast parser, which collects an unfinished header in memory without a limit. The size of
bodies is limited by `service.api.middleware.BodyLimitMiddleware`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api_schemas.problems import PROBLEM_JSON
from service.api.problem_details import make_problem
from service.errors import HeaderTooLarge, RequestTimeout, ServiceError
from service.settings import ServiceSettings

MAX_HEADERS = 100
"""Header fields of a request."""


@dataclass(frozen=True)
class RequestLimits:
    """Limits of one request."""

    header_bytes: int
    """Of the request line and all header fields together, and of the trailers."""
    header_seconds: float
    """From the connection, or from the first byte of a further request, to the end of the header."""
    body_seconds: float
    """From the end of the header to the end of the body."""

    @classmethod
    def from_settings(cls, settings: ServiceSettings) -> "RequestLimits":
        """Return the limits that the settings name."""
        return cls(settings.max_header_bytes, settings.header_seconds, settings.body_seconds)


def limited_protocol(limits: RequestLimits) -> type[asyncio.Protocol]:
    """Return a protocol class with these limits, for `uvicorn.Config(http=...)`."""
    return type("LimitedHttpProtocol", (_LimitedHttpProtocol,), {"limits": limits})


class _LimitedHttpProtocol(HttpToolsProtocol):
    """Closes a connection whose request exceeds a limit, with a problem document if no response has begun."""

    limits: RequestLimits
    _timer: asyncio.TimerHandle | None = None
    _refusal: ServiceError | None = None
    _in_header = True
    _header_bytes = 0
    """Of the complete fields of the header."""
    _header_count = 0
    _unparsed_bytes = 0
    """Received since the parser has completed a header, a part of a body or a message."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request."""
        super().connection_made(transport)
        self._set_timer(self.limits.header_seconds, self._header_timed_out)

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up."""
        self._clear_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse data, unless too much of it is unfinished."""
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._header_bytes + self._unparsed_bytes > self.limits.header_bytes:
            self._refuse(_header_too_large(self.limits))
        elif self._timer is None and self._in_header:  # bytes between two requests
            self._set_timer(self.limits.header_seconds, self._header_timed_out)

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that cannot be parsed, or that a callback of the parser refused."""
        if self._refusal is None:
            super().send_400_response(msg)
        else:
            self._refuse(self._refusal)

    # Callbacks of the parser. What they raise ends in `send_400_response`.

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._header_bytes = self._header_count = 0
        self._set_timer(self.limits.header_seconds, self._header_timed_out)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a field of the header or of the trailers."""
        self._header_bytes += len(name) + len(value)
        self._header_count += 1
        if self._header_bytes > self.limits.header_bytes or self._header_count > MAX_HEADERS:
            self._refusal = _header_too_large(self.limits)
            raise self._refusal
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Wait for the body."""
        self._in_header, self._unparsed_bytes, self._header_bytes = False, 0, 0
        self._set_timer(self.limits.body_seconds, self._body_timed_out)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Receive a part of the body."""
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._in_header, self._unparsed_bytes, self._header_bytes = True, 0, 0
        self._clear_timer()
        super().on_message_complete()

    def _header_timed_out(self) -> None:
        if self._is_responding:  # to an earlier request of the connection
            self._set_timer(self.limits.header_seconds, self._header_timed_out)
        else:
            self._refuse(_timeout("header", self.limits.header_seconds))

    def _body_timed_out(self) -> None:
        self._refuse(_timeout("body", self.limits.body_seconds))

    @property
    def _is_responding(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, error: ServiceError) -> None:
        """Close the connection, with a problem document unless a response is on its way."""
        if not (self._is_responding if self._in_header else self.cycle.response_started):
            self.transport.write(_problem_bytes(error))
        if self.cycle is not None:
            self.cycle.disconnected = True  # the application's response would follow the problem document
        self.transport.close()

    def _set_timer(self, seconds: float, expire: Callable[[], None]) -> None:
        self._clear_timer()
        self._timer = self.loop.call_later(seconds, expire)

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _header_too_large(limits: RequestLimits) -> HeaderTooLarge:
    return HeaderTooLarge(
        f"The header has more than {limits.header_bytes} bytes or {MAX_HEADERS} fields.",
        remedy="Send fewer or shorter header fields.",
    )


def _timeout(part: str, seconds: float) -> RequestTimeout:
    return RequestTimeout(
        f"The {part} of the request did not arrive within {seconds:g} s.", remedy="Send the request again."
    )


def _problem_bytes(error: ServiceError) -> bytes:
    """Return a whole response."""
    body = make_problem(error, instance="", request_id="none").model_dump_json().encode()
    fields: dict[str, Any] = {"Content-Type": PROBLEM_JSON, "Content-Length": len(body), "Connection": "close"}
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}", *(f"{k}: {v}" for k, v in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
