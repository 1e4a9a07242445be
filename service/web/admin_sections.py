"""The sections of the administration, as tabs that the caller's scopes open."""

from typing import Any

from fastapi import Request, Response

from service.web.rendering import render

PAGE_SIZE = 25
"""Items of a list of the administration."""
SECTIONS = (
    ("Models", "/admin/models", "models:read"),
    ("Webhooks", "/admin/webhooks", "webhooks:read"),
    ("API keys", "/admin/keys", "service:read"),
    ("Operations", "/admin/operations", "service:read"),
)


def visible_sections(request: Request) -> list[tuple[str, str]]:
    """Return label and path of each section that the caller may see."""
    scopes = request.state.caller.scopes
    return [(label, path) for label, path, scope in SECTIONS if scope in scopes]


def render_section(request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
    """Render a page of the administration with its tabs."""
    return render(request, template, status=status, sections=visible_sections(request), **context)
