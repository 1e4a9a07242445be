"""Static files and the first page."""

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from service.errors import Forbidden, NotFound
from service.web.assets import STATIC_ROOT, asset, assets
from service.web.navigation import visible_entries
from service.web.sessions import HOME_PATH

router = APIRouter()

CACHE_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}


@router.get(STATIC_ROOT + "{path:path}")
def read_static(path: str) -> Response:
    """Return a static file. Its path changes with its content."""
    found = assets().get(STATIC_ROOT + path)
    if found is None:
        raise NotFound("There is no such file.", remedy="Load the page again.")
    return Response(found.content, headers=CACHE_FOR_EVER, media_type=found.media_type)


@router.get("/favicon.ico")
def read_icon() -> Response:
    """Return the icon for browsers that ask for it here."""
    icon = asset("icon.svg")
    return Response(icon.content, headers={"Cache-Control": "public, max-age=86400"}, media_type=icon.media_type)


@router.get(HOME_PATH)
def show_home(request: Request) -> Response:
    """Go to the jobs, or to the first page that the caller may see."""
    entries = visible_entries(request.app, request.state.caller)
    paths = [entry.path for entry in entries]
    if not paths:
        raise Forbidden(
            "This API key opens none of the pages.", remedy="Ask the operator for a key with the scope edits:read."
        )
    return RedirectResponse("/jobs" if "/jobs" in paths else paths[0], 303)
