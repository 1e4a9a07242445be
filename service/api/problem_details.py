"""Convert every error, including those of the framework, to an RFC 9457 problem."""

import http
import logging
from collections.abc import Callable, Sequence
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
    ModelUnavailable,
    NotFound,
    SecretsUnavailable,
    ServiceError,
    ServiceUnavailable,
    UnsupportedMediaType,
)
from service.store.errors import ModelNotAdmitted, SecretsKeyError, StoreUnavailable, UnknownModel

REQUEST_ID = "Request-Id"
MAX_REPORTED_ERRORS = 100
"""Maximum of errors in one problem: a small body can have very many."""
REQUEST_PARTS = {"body", "query", "path", "header"}

ErrorResponse = Callable[[Request, ServiceError], Response]

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
    problem = make_problem(error, request.url.path, request_id_of(request))
    return Response(problem.model_dump_json(), error.status, error.headers, PROBLEM_JSON)


def install(app: FastAPI, respond: ErrorResponse = problem_response) -> None:
    """Install the exception handlers. `respond` makes the response from the error that the client gets."""

    def handler(convert: Callable[[Request, Exception], ServiceError]) -> Callable[[Request, Exception], Response]:
        return lambda request, error: respond(request, convert(request, error))

    app.add_exception_handler(ServiceError, handler(_service_error))
    app.add_exception_handler(UnknownModel, handler(_unknown_model))
    app.add_exception_handler(ModelNotAdmitted, handler(_model_not_admitted))
    app.add_exception_handler(StoreUnavailable, handler(_store_unavailable))
    app.add_exception_handler(SecretsKeyError, handler(_secrets_error))
    app.add_exception_handler(RequestValidationError, handler(_validation_error))
    app.add_exception_handler(HTTPException, handler(_http_error))
    app.add_exception_handler(Exception, handler(_unexpected))


def _service_error(request: Request, error: Exception) -> ServiceError:
    return cast(ServiceError, error)


def _unknown_model(request: Request, error: Exception) -> ServiceError:
    unknown = cast(UnknownModel, error)
    field = invalid_field(["model"], code=unknown.code, message=unknown.message, remedy=unknown.remedy)
    return InvalidRequest(unknown.message, remedy=unknown.remedy, errors=[field])


def _model_not_admitted(request: Request, error: Exception) -> ServiceError:
    refused = cast(ModelNotAdmitted, error)
    return ModelUnavailable(refused.message, remedy=refused.remedy)


def _validation_error(request: Request, error: Exception) -> ServiceError:
    errors = cast(RequestValidationError, error).errors()
    if errors[0]["type"] == "json_invalid":
        reason = f"{errors[0]['ctx']['error']}, at character {errors[0]['loc'][1]}."
        return MalformedJson(reason, remedy="Send one JSON object.")
    if errors[0]["loc"][:1] == ("body",) and _has_other_media_type(request):
        return UnsupportedMediaType(
            "The body is not declared as JSON.", remedy="Send it with Content-Type: application/json."
        )
    fields = invalid_fields(dict(item, loc=_strip_request_part(item["loc"])) for item in errors[:MAX_REPORTED_ERRORS])
    summary = _summarize(fields, len(errors) - len(fields))
    return InvalidRequest(summary, remedy="Correct the named fields.", errors=fields)


def _http_error(request: Request, error: Exception) -> ServiceError:
    """Convert errors that the framework raises itself, such as 404 and 405."""
    raised = cast(HTTPException, error)
    if isinstance(raised.__cause__, ServiceError):  # FastAPI wraps errors raised while the body is read
        return raised.__cause__
    if raised.status_code == http.HTTPStatus.BAD_REQUEST:  # only raised for bodies, without details
        return MalformedJson("The body cannot be parsed.", remedy="Send one JSON object.")
    if raised.status_code == http.HTTPStatus.NOT_FOUND:
        return NotFound(f"There is no resource at {request.url.path}.", remedy="See /openapi.json.")
    if raised.status_code == http.HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = ", ".join(allowed_methods(request.app, request.url.path))
        return MethodNotAllowed(
            f"{request.method} is not allowed for this path.",
            remedy=f"Allowed methods: {allowed}.",
            headers={"Allow": allowed},
        )
    return _unexpected(request, error)


def _store_unavailable(request: Request, error: Exception) -> ServiceError:
    unavailable = cast(StoreUnavailable, error)
    log.warning("request %s: %s", request_id_of(request), unavailable.message)
    return ServiceUnavailable(unavailable.message, remedy=unavailable.remedy, headers={"Retry-After": "2"})


def _secrets_error(request: Request, error: Exception) -> ServiceError:
    secrets_error = cast(SecretsKeyError, error)
    log.error("request %s: %s %s", request_id_of(request), secrets_error.message, secrets_error.remedy)
    return SecretsUnavailable(secrets_error.message, remedy=secrets_error.remedy)


def _unexpected(request: Request, error: Exception) -> ServiceError:
    """Log the traceback; the client gets nothing but the request's id."""
    if isinstance(error, StoreUnavailable):  # raised by middleware
        return _store_unavailable(request, error)
    log.error("request %s failed", request_id_of(request), exc_info=error)
    return ServiceError(
        "An internal error occurred.",
        remedy="Try again. If the error persists, report the request_id.",
        headers={REQUEST_ID: request_id_of(request)},
    )


def request_id_of(request: Request) -> str:
    """Return the id that `RequestIdMiddleware` assigned."""
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
