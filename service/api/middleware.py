"""Around every request: an id, a key, a rate, a size limit. Plain ASGI, so that streams pass through untouched.

Keys are checked here and not in the routes: a route that somebody adds is closed until it is named in
`OPEN_PATHS`, and nobody without a key can make us parse a body.
"""

import base64
import re
import uuid
from collections.abc import Mapping

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.auth import KeyRing
from service.api.problem_details import REQUEST_ID, problem_response
from service.api.rate_limit import RateLimit
from service.errors import BodyTooLarge, ServiceError, TooManyRequests, Unauthorized
from service.store import logs

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

        with logs.bound_contextvars(request_id=request_id):
            return await self._app(scope, receive, send_named)


class RequireApiKey:
    """Lets a request in that carries a known key, as `Authorization: Bearer expunge_…`.

    Hub clients that know nothing but `HF_ENDPOINT` carry it there, as `http://:expunge_…@host/hf`: their HTTP library
    sends it as the password of `Authorization: Basic`.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it in, or answer 401."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            return await self._app(scope, receive, send)
        key = _key(Headers(scope=scope).get("authorization", ""))
        caller = await self._keys.caller(key) if key else None
        if caller is None:
            error = Unauthorized(
                "no key came with the request that is known and still holds.",
                remedy="Send the header Authorization: Bearer <key>. `expunge up` prints where the key lies.",
                headers={"WWW-Authenticate": "Bearer"},
            )
            return await problem_response(Request(scope), error)(scope, receive, send)
        scope["state"]["caller"] = caller
        return await self._app(scope, receive, send)


def _key(authorization: str) -> str:
    """The API key in an Authorization header; empty where there is none."""
    scheme, _, value = authorization.partition(" ")
    match scheme.lower():
        case "bearer":
            return value.strip()
        case "basic":
            return _password(value.strip())
    return ""


def _password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode("ascii").partition(":")[2]
    except ValueError:
        return ""


class LimitRate:
    """Counts the requests of each key, and tells it where it stands. Inside of `RequireApiKey`."""

    def __init__(self, app: ASGIApp, limit: RateLimit) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it pass, or answer 429."""
        caller = scope.get("state", {}).get("caller")
        if caller is None:
            return await self._app(scope, receive, send)
        try:
            standing = self._limit.hit(caller.key_id)
        except TooManyRequests as error:
            return await problem_response(Request(scope), error)(scope, receive, send)

        async def send_standing(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(standing)
            await send(message)

        return await self._app(scope, receive, send_standing)


class LimitBody:
    """Refuses bodies over `limit` bytes: at once when they say so, else at the byte that is too many.

    `larger`: other limits, by path.
    """

    def __init__(self, app: ASGIApp, limit: int, larger: Mapping[str, int] | None = None) -> None:
        self._app = app
        self._usual = limit
        self._larger = larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the body on, up to the limit."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        limit = self._larger.get(scope["path"], self._usual)
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > limit:
            return await problem_response(Request(scope), self._refusal(limit))(scope, receive, send)
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise self._refusal(limit)
            return message

        return await self._app(scope, receive_limited, send)

    def _refusal(self, limit: int) -> ServiceError:
        return BodyTooLarge(
            f"the body is larger than {limit} bytes.",
            remedy="Send fewer removals per request.",
            headers={"Connection": "close"},
        )
