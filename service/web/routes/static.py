"""Static files and the first page."""

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from starlette.responses import RedirectResponse

from service.errors import Forbidden, NotFound
from service.web.assets import STATIC_ROOT, asset, assets
from service.web.navigation import visible_entries
from service.web.sessions import HOME_PATH

router = APIRouter()

CACHE_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}


@router.get(STATIC_ROOT + "{path:path}")
def read_static(path: str, accept_encoding: Annotated[str, Header()] = "") -> Response:
    """Return a static file, compressed if the browser reads that. Its path changes with its content."""
    found = assets().get(STATIC_ROOT + path)
    if found is None:
        raise NotFound("There is no such file.", remedy="Load the page again.")
    if "gzip" in accept_encoding:
        headers = CACHE_FOR_EVER | {"Content-Encoding": "gzip"}
        return Response(found.compressed, headers=headers, media_type=found.media_type)
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
