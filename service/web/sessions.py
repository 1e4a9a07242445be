"""Sessions: a cookie with a random id, whose session is in the database. A page acts with the session's `Caller`.

The cookie's prefix `__Host-` makes browsers refuse it without `Secure`, with a domain, or from a subdomain. Browsers treat
http://127.0.0.1 as secure, so sign-in works there without TLS.
"""

from datetime import timedelta
from urllib.parse import urlencode, urlsplit

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.core.app_state import AppState
from service.core.caller import Caller
from service.settings import OIDC_CALLBACK_PATH, ServiceSettings
from service.store import sessions
from service.store.orm import WebSession
from service.store.sessions import SEEN_RESOLUTION, SessionLimits, SessionUser
from service.web.assets import STATIC_ROOT
from service.web.rendering import render

COOKIE = "__Host-expunge"
SIGN_IN_PATH, SIGN_OUT_PATH, HOME_PATH = "/sign-in", "/sign-out", "/"
OIDC_PATH = "/sign-in/oidc"
PUBLIC_PAGES = frozenset({SIGN_IN_PATH, SIGN_OUT_PATH, OIDC_PATH, OIDC_CALLBACK_PATH, "/favicon.ico"})


class SessionMiddleware:
    """Sets the caller of a request from its session, or sends people without a session to the sign-in page."""

    def __init__(self, app: ASGIApp, app_state: AppState) -> None:
        self._app = app
        self._app_state = app_state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request if it has a session or needs none."""
        request = Request(scope)
        found = await run_in_threadpool(find_session, self._app_state, request.cookies.get(COOKIE, ""))
        if found is not None:
            scope["state"]["caller"] = Caller(found.user_id, found.tenant, frozenset(found.scopes))
            scope["state"]["user_name"] = found.name or found.user_id
        elif scope["path"] not in PUBLIC_PAGES and not scope["path"].startswith(STATIC_ROOT):
            return await _without_session(request)(scope, receive, send)
        return await self._app(scope, receive, send)


def find_session(app_state: AppState, session_id: str) -> WebSession | None:
    """Return the session if it has not ended, and record its use."""
    if not session_id:
        return None
    now, limits = app_state.clock(), session_limits(app_state.settings)
    with app_state.database.read() as session:
        found = sessions.find(session, session_id, limits, now=now)
    if found is not None and now - found.seen_at > SEEN_RESOLUTION:
        with app_state.database.write() as session:
            sessions.mark_seen(session, found, now=now)
    return found


def start_session(app_state: AppState, request: Request, user: SessionUser, response: Response) -> Response:
    """Begin a session with a new id, end the one that the browser had, and set the cookie."""
    now, limits = app_state.clock(), session_limits(app_state.settings)
    with app_state.database.write() as session:
        sessions.delete_ended(session, limits, now=now)
        sessions.end(session, request.cookies.get(COOKIE, ""))
        session_id = sessions.start(session, user, limits, now=now)
    response.set_cookie(COOKIE, session_id, path="/", secure=True, httponly=True, samesite="strict")
    return response


def end_session(app_state: AppState, request: Request, response: Response) -> Response:
    """End the browser's session and delete its cookie."""
    with app_state.database.write() as session:
        sessions.end(session, request.cookies.get(COOKIE, ""))
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
    return response


def session_limits(settings: ServiceSettings) -> SessionLimits:
    """Return the limits that the settings name."""
    return SessionLimits(timedelta(seconds=settings.session_idle_seconds), timedelta(seconds=settings.session_seconds))


def local_path(wanted: str) -> str:
    """Return a path of this site to continue at, or the first page if `wanted` leads elsewhere."""
    parts = urlsplit(wanted)
    is_local = wanted.startswith("/") and not parts.scheme and not parts.netloc and "\\" not in wanted
    return wanted if is_local and wanted.isprintable() else HOME_PATH


def _without_session(request: Request) -> Response:
    """Send people to the sign-in page. A link from another site comes without our strict cookie: it is opened once more."""
    if request.headers.get("hx-request") == "true":
        return Response(status_code=401, headers={"HX-Redirect": SIGN_IN_PATH})
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if request.method == "GET" and request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return render(request, "continue.html", target=local_path(wanted))
    query = urlencode({"next": wanted}) if request.method == "GET" and wanted != HOME_PATH else ""
    return RedirectResponse(f"{SIGN_IN_PATH}?{query}" if query else SIGN_IN_PATH, 303)
