"""The way into the administration: the first section that the caller may see."""

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from service.errors import Forbidden
from service.web.admin_sections import visible_sections

router = APIRouter(prefix="/admin")


@router.get("")
def show_admin(request: Request) -> Response:
    """Go to the first section that the caller may see."""
    sections = visible_sections(request)
    if not sections:
        raise Forbidden(
            "This API key opens no page of the administration.",
            remedy="Ask the operator for a key with the scope models:read, webhooks:read or service:read.",
        )
    return RedirectResponse(sections[0][1], 303)
