"""Sign in with an API key, and sign out."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from starlette.responses import RedirectResponse

from service.api.dependencies import AppStateDep
from service.store import api_keys
from service.store.sessions import SessionUser
from service.web.errors import SignInFailed
from service.web.rendering import render
from service.web.sessions import SIGN_IN_PATH, SIGN_OUT_PATH, end_session, local_path, start_session

router = APIRouter()

Next = Annotated[str, Query(max_length=2000)]


@router.get(SIGN_IN_PATH)
def show(request: Request, next: Next = "/") -> Response:
    """Show the form."""
    return render(request, "sign_in.html", target=local_path(next), error=None)


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
        return render(request, "sign_in.html", status=error.status, target=target, error=error)
    user = SessionUser(key.id, key.tenant, key.name, key.scopes, is_api_key=True)
    return start_session(app_state, request, user, RedirectResponse(target, 303))


@router.post(SIGN_OUT_PATH)
def sign_out(request: Request, app_state: AppStateDep) -> Response:
    """End the session."""
    return end_session(app_state, request, RedirectResponse(SIGN_IN_PATH, 303))
