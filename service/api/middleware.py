"""Middleware for every request: request id, API key, rate limit and body size limit. Plain ASGI, so that streams pass through
unchanged.

API keys are checked here and not in the routes: a new route is protected unless it is added to `PUBLIC_PATHS`, and the body of
a request without a key is never parsed.
"""

import base64
import re
import uuid
from collections.abc import Collection, Mapping

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.auth import Authenticator
from service.api.problem_details import REQUEST_ID, ErrorResponse, problem_response
from service.api.rate_limit import RateLimiter
from service.api.routes.contract import CONTRACT_PATH, FULL_CONTRACT_PATH, PAGE_PATH
from service.errors import BodyTooLarge, ServiceError, TooManyRequests, Unauthorized
from service.store import logs

PUBLIC_PATHS = frozenset({"/healthz", "/readyz", CONTRACT_PATH, FULL_CONTRACT_PATH, PAGE_PATH})
_CLIENT_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class RequestIdMiddleware:
    """Assigns each request an id, for the reply's `Request-Id` header and the log. Clients may send their own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the id to the request, the log context and the reply."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        given = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = given if _CLIENT_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        with logs.bound_contextvars(request_id=request_id):
            return await self._app(scope, receive, send_with_id)


class PagesMiddleware:
    """Answers requests for the web pages: everything whose first path segment belongs to no route of the API.

    Args:
        api_roots: The first segments of the API's routes.
        pages: The application that serves the pages and checks who asks.
    """

    def __init__(self, app: ASGIApp, api_roots: Collection[str], pages: ASGIApp) -> None:
        self._app = app
        self._api_roots = frozenset(api_roots)
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request to the API or to the pages."""
        is_page = scope["type"] == "http" and scope["path"].split("/")[1] not in self._api_roots
        await (self._pages if is_page else self._app)(scope, receive, send)


class ApiKeyMiddleware:
    """Rejects requests without a valid key in `Authorization: Bearer expunge_…`.

    Hub clients that are configured by `HF_ENDPOINT` alone have the key in its URL, `http://:expunge_…@host/hf`: their HTTP
    library sends it as the password of `Authorization: Basic`.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Authenticate the caller, or reply 401."""
        if scope["type"] != "http" or scope["path"] in PUBLIC_PATHS:
            return await self._app(scope, receive, send)
        key = _api_key_in(Headers(scope=scope).get("authorization", ""))
        caller = await self._authenticator.authenticate(key) if key else None
        if caller is None:
            error = Unauthorized(
                "The request has no valid API key.",
                remedy="Send the header Authorization: Bearer <key>. `expunge up` prints the path of the key file.",
                headers={"WWW-Authenticate": "Bearer"},
            )
            return await problem_response(Request(scope), error)(scope, receive, send)
        scope["state"]["caller"] = caller
        return await self._app(scope, receive, send)


def _api_key_in(authorization: str) -> str:
    """Return the API key in an Authorization header, or an empty string."""
    scheme, _, value = authorization.partition(" ")
    match scheme.lower():
        case "bearer":
            return value.strip()
        case "basic":
            return _basic_password(value.strip())
    return ""


def _basic_password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode("ascii").partition(":")[2]
    except ValueError:
        return ""


class RateLimitMiddleware:
    """Limits the request rate of each key and adds `RateLimit-*` headers. Must run after `ApiKeyMiddleware`."""

    def __init__(self, app: ASGIApp, limiter: RateLimiter, respond: ErrorResponse = problem_response) -> None:
        self._app = app
        self._limiter = limiter
        self._respond = respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the request, or reply 429."""
        caller = scope.get("state", {}).get("caller")
        if caller is None:
            return await self._app(scope, receive, send)
        try:
            headers = self._limiter.hit(caller.key_id)
        except TooManyRequests as error:
            return await self._respond(Request(scope), error)(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        return await self._app(scope, receive, send_with_headers)


class BodyLimitMiddleware:
    """Rejects bodies over `limit` bytes: at once if the declared length is larger, else as soon as the limit is exceeded.

    Args:
        limit_by_path: Limits of paths that have another one.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit: int,
        limit_by_path: Mapping[str, int] | None = None,
        respond: ErrorResponse = problem_response,
    ) -> None:
        self._app = app
        self._respond = respond
        self._default_limit = limit
        self._limit_by_path = limit_by_path or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the body up to the limit."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        limit = self._limit_by_path.get(scope["path"], self._default_limit)
        if _declares_more_than(limit, Headers(scope=scope).get("content-length", "0")):
            return await self._respond(Request(scope), self._body_too_large(limit))(scope, receive, send)
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise self._body_too_large(limit)
            return message

        return await self._app(scope, receive_limited, send)

    def _body_too_large(self, limit: int) -> ServiceError:
        return BodyTooLarge(
            f"The body is larger than {limit} bytes.",
            remedy="Send fewer removals per request.",
            headers={"Connection": "close"},
        )


def _declares_more_than(limit: int, content_length: str) -> bool:
    """Compare the header with the limit. The number of digits comes first: Python does not convert numbers of any length."""
    if not (content_length.isascii() and content_length.isdecimal()):
        return False
    digits = content_length.lstrip("0") or "0"
    return len(digits) > len(str(limit)) or int(digits) > limit
