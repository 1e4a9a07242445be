"""Render templates. Every URL is a whole page; htmx, which asks with `HX-Request`, gets the content without the frame.

Templates start with `{% extends layout %}` and fill the blocks `title` and `content`. Values are escaped automatically, and an
undefined variable is an error.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from service.settings import VERSION
from service.web.assets import asset
from service.web.filters import FILTERS
from service.web.navigation import visible_entries

PAGE_LAYOUT, FRAGMENT_LAYOUT = "layout/page.html", "layout/fragment.html"

ENVIRONMENT = Environment(
    loader=PackageLoader("service.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.globals |= {"asset": asset, "version": VERSION}
ENVIRONMENT.filters |= FILTERS


def render(
    request: Request, template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **context: Any
) -> HTMLResponse:
    """Return a page, or its content alone if htmx asks for it."""
    caller = getattr(request.state, "caller", None)
    standard = {
        "layout": FRAGMENT_LAYOUT if wants_fragment(request) else PAGE_LAYOUT,
        "path": request.url.path,
        "caller": caller,
        "user_name": getattr(request.state, "user_name", ""),
        "navigation": visible_entries(request.app, caller),
    }
    html = ENVIRONMENT.get_template(template).render(standard | context)
    return HTMLResponse(html, status, {"Vary": "HX-Request", **(headers or {})})


def wants_fragment(request: Request) -> bool:
    """Return whether htmx swaps the response into a page that is already there."""
    headers = request.headers
    return headers.get("hx-request") == "true" and "hx-history-restore-request" not in headers
