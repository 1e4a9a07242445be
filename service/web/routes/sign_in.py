"""Sign in with an API key or at an identity provider, and sign out."""

import base64
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request, Response
from starlette.responses import RedirectResponse

from service.api.dependencies import AppStateDep
from service.core.app_state import AppState
from service.errors import NotFound
from service.settings import OIDC_CALLBACK_PATH
from service.store import api_keys
from service.store.sessions import SessionUser
from service.web.errors import SignInFailed
from service.web.rendering import render
from service.web.sessions import (
    OIDC_PATH,
    SIGN_IN_PATH,
    SIGN_OUT_PATH,
    end_session,
    local_path,
    start_session,
)

if TYPE_CHECKING:  # Authlib takes a fifth of a second to import, and few services have a provider.
    from service.web.oidc import IdentityProvider

router = APIRouter()

HANDSHAKE_COOKIE = "__Host-expunge-oidc"
HANDSHAKE_SECONDS = 600
Next = Annotated[str, Query(max_length=2000)]


@router.get(SIGN_IN_PATH)
def show(request: Request, app_state: AppStateDep, next: Next = "/") -> Response:
    """Show the form."""
    return _form(request, app_state, local_path(next))


@router.post(SIGN_IN_PATH)
def sign_in(
    request: Request,
    app_state: AppStateDep,
    api_key: Annotated[str, Form(max_length=200)] = "",
    next: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Begin a session if the API key is valid."""
    target, now = local_path(next), app_state.clock()
    with app_state.database.read() as session:
        key = api_keys.authenticate(session, api_key.strip(), now=now)
    if key is None:
        error = SignInFailed("This API key is not known, or it has expired or been revoked.")
        return _form(request, app_state, target, error)
    user = SessionUser(key.id, key.tenant, key.name, key.scopes, is_api_key=True)
    return start_session(app_state, request, user, RedirectResponse(target, 303))


@router.get(OIDC_PATH)
def go_to_provider(request: Request, app_state: AppStateDep, next: Next = "/") -> Response:
    """Send the browser to the identity provider."""
    from service.web.oidc import Handshake

    handshake = Handshake.new(local_path(next))
    url = _provider(app_state).authorization_url(handshake, _redirect_url(request, app_state))
    response = RedirectResponse(url, 303)
    value = base64.urlsafe_b64encode(json.dumps(asdict(handshake)).encode()).decode()
    response.set_cookie(
        HANDSHAKE_COOKIE, value, HANDSHAKE_SECONDS, path="/", secure=True, httponly=True, samesite="lax"
    )
    return response


@router.get(OIDC_CALLBACK_PATH)
def return_from_provider(request: Request, app_state: AppStateDep) -> Response:
    """Begin a session for the user whom the provider names. The page that continues lets the browser send the strict cookie."""
    from service.web.oidc import Handshake

    provider = _provider(app_state)
    try:
        handshake = Handshake(**json.loads(base64.urlsafe_b64decode(request.cookies.get(HANDSHAKE_COOKIE, ""))))
    except (ValueError, TypeError) as error:
        raise SignInFailed("This browser has not begun to sign in.", remedy="Sign in again.") from error
    user = provider.user(handshake, request.query_params, _redirect_url(request, app_state))
    response = render(request, "continue.html", target=local_path(handshake.target))
    response.delete_cookie(HANDSHAKE_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    return start_session(app_state, request, user, response)


@router.post(SIGN_OUT_PATH)
def sign_out(request: Request, app_state: AppStateDep) -> Response:
    """End the session."""
    return end_session(app_state, request, RedirectResponse(SIGN_IN_PATH, 303))


def _form(request: Request, app_state: AppState, target: str, error: SignInFailed | None = None) -> Response:
    provider = f"{OIDC_PATH}?{urlencode({'next': target})}" if app_state.settings.oidc_issuer else None
    status = error.status if error else 200
    return render(request, "sign_in.html", status=status, target=target, error=error, provider_url=provider)


def _provider(app_state: AppState) -> "IdentityProvider":
    from service.web.oidc import IdentityProvider

    if not app_state.settings.oidc_issuer:
        raise NotFound("This service has no identity provider.", remedy="Sign in with an API key.")
    return IdentityProvider(app_state.settings)


def _redirect_url(request: Request, app_state: AppState) -> str:
    return app_state.settings.oidc_redirect_url or f"{str(request.base_url).rstrip('/')}{OIDC_CALLBACK_PATH}"
