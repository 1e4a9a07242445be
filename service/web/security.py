"""Guards of the pages: response headers, and the rule that keeps other sites from sending our forms."""

from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.errors import CrossSiteRequest, error_page

CONTENT_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "font-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ]
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class SecurityHeadersMiddleware:
    """Adds the security headers that a response lacks, and forbids caching unless the response allows it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request and add the headers."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in (SECURITY_HEADERS | {"Cache-Control": "no-store"}).items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class CrossSiteMiddleware:
    """Rejects unsafe requests that a browser sends for another site."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request, or reply 403."""
        if scope["method"] in SAFE_METHODS or is_same_origin(Headers(scope=scope)):
            return await self._app(scope, receive, send)
        error = CrossSiteRequest(
            "The form was sent by a page of another site, so nothing was done.",
            remedy="Open the page here and send the form again.",
        )
        return await error_page(Request(scope), error)(scope, receive, send)


def is_same_origin(headers: Headers) -> bool:
    """Return whether our own page, the user, or a program without cookies of a browser sent the request.

    The rule of Go's `http.CrossOriginProtection`: browsers send `Sec-Fetch-Site`, older ones `Origin`, other programs neither.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site in ("same-origin", "none")
    return origin is None or urlsplit(origin).netloc == headers.get("host", "")
