"""Around every request: an id, a key, a size limit. Plain ASGI, so that streams pass through untouched.

Keys are checked here and not in the routes: a route that somebody adds is closed until it is named in
`OPEN_PATHS`, and nobody without a key can make us parse a body.
"""

import re
import uuid
from collections.abc import Callable

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLarge, ServiceError, Unauthorized
from service.problems import REQUEST_ID, problem_response

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
_CLIENT_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class RequestId:
    """Names the request, in the reply's `Request-Id` and in our log. A client may bring its own name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give the request its name."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        given = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = given if _CLIENT_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        return await self._app(scope, receive, send_named)


class RequireApiKey:
    """Lets a request in that carries a known key, as `Authorization: Bearer expunge_…`."""

    def __init__(self, app: ASGIApp, authenticate: Callable[[str], str | None]) -> None:
        self._app = app
        self._authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it in, or answer 401."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            return await self._app(scope, receive, send)
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        key_id = None
        if scheme.lower() == "bearer":
            key_id = await run_in_threadpool(self._authenticate, key.strip())
        if key_id is None:
            error = Unauthorized(
                "no known API key came with the request.",
                remedy="Send the header Authorization: Bearer <key>. `expunge up` prints where the key lies.",
                headers={"WWW-Authenticate": "Bearer"},
            )
            return await problem_response(Request(scope), error)(scope, receive, send)
        scope["state"]["api_key_id"] = key_id
        return await self._app(scope, receive, send)


class LimitBody:
    """Refuses bodies over `limit` bytes: at once when they say so, else at the byte that is too many."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the body on, up to the limit."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._limit:
            return await problem_response(Request(scope), self._refusal())(scope, receive, send)
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise self._refusal()
            return message

        return await self._app(scope, receive_limited, send)

    def _refusal(self) -> ServiceError:
        return BodyTooLarge(
            f"the body is larger than {self._limit} bytes.",
            remedy="Send fewer removals per request.",
            headers={"Connection": "close"},
        )
