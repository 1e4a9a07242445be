"""Every error that leaves the service is RFC 9457 problem+json, those of the framework included."""

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
MOST_ERRORS = 100
"""That are told of one request: a small body may have very many."""
PARTS = {"body", "query", "path", "header"}

log = logging.getLogger(__name__)


def problem_response(request: Request, error: ServiceError) -> Response:
    """The reply that tells a client about `error`."""
    problem = Problem(
        type=f"urn:expunge:problem:{error.code}",
        title=error.title,
        status=error.status,
        detail=error.message,
        instance=request.url.path,
        code=error.code,
        request_id=_request_id(request),
        remedy=error.remedy,
        errors=error.errors,
        conflicts=error.conflicts,
    )
    return Response(problem.model_dump_json(), error.status, error.headers, PROBLEM_JSON)


def install(app: FastAPI) -> None:
    """Have `app` answer every error as a problem."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(UnknownModel, _unknown_model)
    app.add_exception_handler(StoreUnavailable, _unavailable)
    app.add_exception_handler(SecretsKeyError, _secrets)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


def _service_error(request: Request, error: Exception) -> Response:
    return problem_response(request, cast(ServiceError, error))


def _unknown_model(request: Request, error: Exception) -> Response:
    unknown = cast(UnknownModel, error)
    field = invalid_field(["model"], code=unknown.code, message=unknown.message, remedy=unknown.remedy)
    return problem_response(request, InvalidRequest(unknown.message, remedy=unknown.remedy, errors=[field]))


def _invalid(request: Request, error: Exception) -> Response:
    errors = cast(RequestValidationError, error).errors()
    if errors[0]["type"] == "json_invalid":
        reason = f"{errors[0]['ctx']['error']}, at character {errors[0]['loc'][1]}."
        return problem_response(request, MalformedJson(reason, remedy="Send one JSON object."))
    if errors[0]["loc"][:1] == ("body",) and _not_json(request):
        return problem_response(
            request,
            UnsupportedMediaType("the body was not read.", remedy="Send it with Content-Type: application/json."),
        )
    fields = invalid_fields(dict(item, loc=_without_part(item["loc"])) for item in errors[:MOST_ERRORS])
    summary = _summary(fields, len(errors) - len(fields))
    return problem_response(request, InvalidRequest(summary, remedy="Correct the named fields.", errors=fields))


def _http_error(request: Request, error: Exception) -> Response:
    """404, 405 and the like, raised by the framework itself."""
    raised = cast(HTTPException, error)
    if isinstance(raised.__cause__, ServiceError):  # FastAPI wraps what reading the body raised
        return problem_response(request, raised.__cause__)
    if raised.status_code == http.HTTPStatus.BAD_REQUEST:  # only raised for bodies, and says nothing of use
        return problem_response(request, MalformedJson("the body cannot be read.", remedy="Send one JSON object."))
    if raised.status_code == http.HTTPStatus.NOT_FOUND:
        return problem_response(request, NotFound(f"nothing is at {request.url.path}.", remedy="See /openapi.json."))
    if raised.status_code == http.HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = ", ".join(allowed_methods(request.app, request.url.path))
        refusal = MethodNotAllowed(
            f"{request.method} is not for this path.", remedy=f"Allowed: {allowed}.", headers={"Allow": allowed}
        )
        return problem_response(request, refusal)
    return _unexpected(request, error)


def _unavailable(request: Request, error: Exception) -> Response:
    away = cast(StoreUnavailable, error)
    log.warning("request %s: %s", _request_id(request), away.message)
    failure = ServiceUnavailable(away.message, remedy=away.remedy, headers={"Retry-After": "2"})
    return problem_response(request, failure)


def _secrets(request: Request, error: Exception) -> Response:
    missing = cast(SecretsKeyError, error)
    log.error("request %s: %s %s", _request_id(request), missing.message, missing.remedy)
    return problem_response(request, SecretsUnavailable(missing.message, remedy=missing.remedy))


def _unexpected(request: Request, error: Exception) -> Response:
    """The trace goes to our log; the client learns the request's id and nothing else."""
    if isinstance(error, StoreUnavailable):  # raised outside of the routes
        return _unavailable(request, error)
    log.error("request %s failed", _request_id(request), exc_info=error)
    failure = ServiceError("the fault is ours.", remedy="Try again; if it stays, report the request_id.")
    response = problem_response(request, failure)
    response.headers[REQUEST_ID] = _request_id(request)
    return response


def _request_id(request: Request) -> str:
    return str(getattr(request.state, "request_id", "none"))


def _not_json(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    return has_body and not (media_type.startswith("application/") and media_type.endswith("json"))


def _without_part(location: Sequence[str | int]) -> Sequence[str | int]:
    """FastAPI prefixes each location with the part of the request that holds it."""
    return location[1:] if location and location[0] in PARTS else location


def _summary(fields: Sequence[InvalidField], others: int) -> str:
    told = [f"{field.field or 'the body'}: {field.message}" for field in fields]
    return "; ".join([*told, f"and {others} more"] if others else told)
