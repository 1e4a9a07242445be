"""Convert every error, including those of the framework, to an RFC 9457 problem."""

import http
import logging
from collections.abc import Sequence
from typing import cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api_schemas.problems import PROBLEM_JSON, InvalidField, Problem, invalid_field, invalid_fields
from service.api.openapi import allowed_methods
from service.errors import (
    InvalidRequest,
    MalformedJson,
    MethodNotAllowed,
    NotFound,
    SecretsUnavailable,
    ServiceError,
    ServiceUnavailable,
    UnsupportedMediaType,
)
from service.store.errors import SecretsKeyError, StoreUnavailable, UnknownModel

REQUEST_ID = "Request-Id"
MAX_REPORTED_ERRORS = 100
"""Maximum of errors in one problem: a small body can have very many."""
REQUEST_PARTS = {"body", "query", "path", "header"}

log = logging.getLogger(__name__)


def make_problem(error: ServiceError, instance: str, request_id: str) -> Problem:
    """Return the problem document of an error."""
    return Problem(
        type=f"urn:expunge:problem:{error.code}",
        title=error.title,
        status=error.status,
        detail=error.message,
        instance=instance,
        code=error.code,
        request_id=request_id,
        remedy=error.remedy,
        errors=error.errors,
        conflicts=error.conflicts,
    )


def problem_response(request: Request, error: ServiceError) -> Response:
    """Return the problem response for an error."""
    problem = make_problem(error, request.url.path, _request_id(request))
    return Response(problem.model_dump_json(), error.status, error.headers, PROBLEM_JSON)


def install(app: FastAPI) -> None:
    """Install the exception handlers."""
    app.add_exception_handler(ServiceError, _handle_service_error)
    app.add_exception_handler(UnknownModel, _handle_unknown_model)
    app.add_exception_handler(StoreUnavailable, _handle_store_unavailable)
    app.add_exception_handler(SecretsKeyError, _handle_secrets_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, _handle_http_error)
    app.add_exception_handler(Exception, _handle_unexpected)


def _handle_service_error(request: Request, error: Exception) -> Response:
    return problem_response(request, cast(ServiceError, error))


def _handle_unknown_model(request: Request, error: Exception) -> Response:
    unknown = cast(UnknownModel, error)
    field = invalid_field(["model"], code=unknown.code, message=unknown.message, remedy=unknown.remedy)
    return problem_response(request, InvalidRequest(unknown.message, remedy=unknown.remedy, errors=[field]))


def _handle_validation_error(request: Request, error: Exception) -> Response:
    errors = cast(RequestValidationError, error).errors()
    if errors[0]["type"] == "json_invalid":
        reason = f"{errors[0]['ctx']['error']}, at character {errors[0]['loc'][1]}."
        return problem_response(request, MalformedJson(reason, remedy="Send one JSON object."))
    if errors[0]["loc"][:1] == ("body",) and _has_other_media_type(request):
        return problem_response(
            request,
            UnsupportedMediaType(
                "The body is not declared as JSON.", remedy="Send it with Content-Type: application/json."
            ),
        )
    fields = invalid_fields(dict(item, loc=_strip_request_part(item["loc"])) for item in errors[:MAX_REPORTED_ERRORS])
    summary = _summarize(fields, len(errors) - len(fields))
    return problem_response(request, InvalidRequest(summary, remedy="Correct the named fields.", errors=fields))


def _handle_http_error(request: Request, error: Exception) -> Response:
    """Handle errors that the framework raises itself, such as 404 and 405."""
    raised = cast(HTTPException, error)
    if isinstance(raised.__cause__, ServiceError):  # FastAPI wraps errors raised while the body is read
        return problem_response(request, raised.__cause__)
    if raised.status_code == http.HTTPStatus.BAD_REQUEST:  # only raised for bodies, without details
        return problem_response(request, MalformedJson("The body cannot be parsed.", remedy="Send one JSON object."))
    if raised.status_code == http.HTTPStatus.NOT_FOUND:
        return problem_response(
            request, NotFound(f"There is no resource at {request.url.path}.", remedy="See /openapi.json.")
        )
    if raised.status_code == http.HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = ", ".join(allowed_methods(request.app, request.url.path))
        refusal = MethodNotAllowed(
            f"{request.method} is not allowed for this path.",
            remedy=f"Allowed methods: {allowed}.",
            headers={"Allow": allowed},
        )
        return problem_response(request, refusal)
    return _handle_unexpected(request, error)


def _handle_store_unavailable(request: Request, error: Exception) -> Response:
    unavailable = cast(StoreUnavailable, error)
    log.warning("request %s: %s", _request_id(request), unavailable.message)
    failure = ServiceUnavailable(unavailable.message, remedy=unavailable.remedy, headers={"Retry-After": "2"})
    return problem_response(request, failure)


def _handle_secrets_error(request: Request, error: Exception) -> Response:
    secrets_error = cast(SecretsKeyError, error)
    log.error("request %s: %s %s", _request_id(request), secrets_error.message, secrets_error.remedy)
    return problem_response(request, SecretsUnavailable(secrets_error.message, remedy=secrets_error.remedy))


def _handle_unexpected(request: Request, error: Exception) -> Response:
    """Log the traceback; the client gets nothing but the request's id."""
    if isinstance(error, StoreUnavailable):  # raised by middleware
        return _handle_store_unavailable(request, error)
    log.error("request %s failed", _request_id(request), exc_info=error)
    failure = ServiceError(
        "An internal error occurred.", remedy="Try again. If the error persists, report the request_id."
    )
    response = problem_response(request, failure)
    response.headers[REQUEST_ID] = _request_id(request)
    return response


def _request_id(request: Request) -> str:
    return str(getattr(request.state, "request_id", "none"))


def _has_other_media_type(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    return has_body and not (media_type.startswith("application/") and media_type.endswith("json"))


def _strip_request_part(location: Sequence[str | int]) -> Sequence[str | int]:
    """Strip FastAPI's prefix, the part of the request: body, query, path or header."""
    return location[1:] if location and location[0] in REQUEST_PARTS else location


def _summarize(fields: Sequence[InvalidField], others: int) -> str:
    messages = [f"{field.field or 'the body'}: {field.message}" for field in fields]
    return "; ".join([*messages, f"and {others} more"] if others else messages)
