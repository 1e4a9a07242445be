"""RFC 9457 problem documents, and conversion of validation errors to fields with remedies."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import Field

from api_schemas.base import Resource
from api_schemas.conflicts import Conflict
from api_schemas.errors import ClientError

PROBLEM_JSON = "application/problem+json"

Location: TypeAlias = Sequence[str | int]

NON_FIELD_LOCATIONS = {"[key]", "[auto]", "[list]"}
"""Parts of pydantic's error locations that are not fields: mapping keys and union members."""

REMEDIES = {
    "missing": "Add the field.",
    "extra_forbidden": "Remove the field, or correct its spelling: /openapi.json lists the known ones.",
    "string_too_short": "Send at least one visible character.",
    "string_too_long": "Shorten it.",
    "too_short": "Add at least one element.",
    "too_long": "Send fewer elements.",
    "literal_error": "Send one of the listed values.",
    "json_invalid": "Send one valid JSON document.",
}
DEFAULT_REMEDY = "Send a value that satisfies the message; /openapi.json describes the field."


class InvalidField(Resource):
    """A rejected field: its location, the error and a remedy."""

    field: str = Field(description="Path of the field.", examples=["removals[0].concept"])
    pointer: str = Field(description="The same as a JSON pointer.", examples=["/removals/0/concept"])
    code: str = Field(description="Error code, for programs.", examples=["string_too_short"])
    message: str = Field(description="Error message, for people.")
    remedy: str = Field(description="How to fix it.")


class Problem(Resource):
    """The body of every error response (RFC 9457)."""

    type: str = Field(description="`urn:expunge:problem:<code>`")
    title: str
    status: int
    detail: str
    instance: str = Field(description="Path of the request.")
    code: str = Field(description="The last part of `type`, a stable code for programs.")
    request_id: str = Field(description="Id of the request in the service's log. Include it in bug reports.")
    remedy: str = ""
    errors: list[InvalidField] = Field(default_factory=list)
    conflicts: list[Conflict] = Field(
        default_factory=list, description="The conflicting parties, if there are conflicts."
    )


class ServiceProblem(ClientError):
    """The service answered with a problem document, available as `problem`."""

    code = "service_problem"

    def __init__(self, problem: Problem) -> None:
        lines = [f"{error.field}: {error.message}. {error.remedy}" for error in problem.errors]
        detail = "; ".join(lines) or f"{problem.detail} {problem.remedy}".rstrip()
        super().__init__(f"{problem.title}: {detail}")
        self.problem = problem


def field_path(location: Location) -> str:
    """`("removals", 0, "concept")` -> `removals[0].concept`."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).removeprefix(".")


def json_pointer(location: Location) -> str:
    """`("removals", 0, "concept")` -> `/removals/0/concept`, escaped as RFC 6901 says."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def invalid_field(location: Location, *, code: str, message: str, remedy: str) -> InvalidField:
    """Return an `InvalidField`. Characters that are not valid Unicode are replaced."""
    location = [part if isinstance(part, int) else part.encode(errors="replace").decode() for part in location]
    return InvalidField(
        field=field_path(location), pointer=json_pointer(location), code=code, message=message, remedy=remedy
    )


def invalid_fields(errors: Iterable[Mapping[str, Any]]) -> list[InvalidField]:
    """Convert pydantic's errors. The caller strips prefixes such as `body` from the locations first."""
    return [
        invalid_field(
            [part for part in error["loc"] if part not in NON_FIELD_LOCATIONS],
            code=error["type"],
            message=error["msg"],
            remedy=error.get("ctx", {}).get("remedy") or REMEDIES.get(error["type"], DEFAULT_REMEDY),
        )
        for error in errors
    ]
