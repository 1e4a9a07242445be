"""Errors as pages: what happened and what to do, in plain words."""

from collections.abc import Mapping

from fastapi import Request
from starlette.responses import Response

from service.api.problem_details import request_id_of
from service.errors import ServiceError
from service.web.rendering import render


class CrossSiteRequest(ServiceError):
    """The form was sent by a page of another site."""

    code, status, title = "cross_site_request", 403, "The request came from another site"


class SignInFailed(ServiceError):
    """The API key or the identity is not accepted."""

    code, status, title = "sign_in_failed", 401, "Sign-in failed"


ADVICE: Mapping[str, str] = {
    "not_found": "Check the address, or go back to the list. It may have been deleted, or belong to another tenant.",
    "method_not_allowed": "Open the page again and use its buttons.",
    "internal_error": "Try again. If it happens again, send the request id to the operator.",
    "malformed_json": "Open the page again and repeat the entry.",
}
"""What to do on a page, where the API's advice is meant for programs."""


def error_page(request: Request, error: ServiceError) -> Response:
    """Return the error as a page, or as a fragment for htmx."""
    return render(
        request,
        "error.html",
        status=error.status,
        headers=error.headers,
        error=error,
        advice=ADVICE.get(error.code, error.remedy),
        request_id=request_id_of(request),
    )
