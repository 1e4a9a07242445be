"""The command line's way to write a request, shared by `expunge edit` and `expunge erase`."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from api_schemas.edits import EditRequest, Removal
from api_schemas.errors import UsageError
from api_schemas.problems import invalid_fields

Model = TypeVar("Model", bound=BaseModel)

SYNTAX = 'Write CONCEPT[=REPLACEMENT], as in "fox=dog face"; "style:ink=noto" removes a style.'
KINDS: tuple[str, ...] = get_args(Removal.model_fields["kind"].annotation)


def parse_removal(text: str) -> Removal:
    """`fox`, `fox=dog face`, `style:ink=noto` -> `Removal`. Raises `UsageError`."""
    prefix, colon, rest = text.partition(":")
    kind, body = (prefix, rest) if colon and prefix in KINDS else ("object", text)
    concept, equals, replacement = body.partition("=")
    fields = {"kind": kind, "concept": concept} | ({"replacement": replacement} if equals else {})
    return _checked(Removal, fields, f'--remove "{text}"', SYNTAX)


def build_request(removals: Sequence[str], preserve: Sequence[str] = (), **fields: Any) -> EditRequest:
    """The request that a command line means: `preserve` protects its concepts in each of the removals.

    Raises `UsageError`, naming the field.
    """
    parsed = [parse_removal(text).model_dump() | {"preserve": list(preserve)} for text in removals]
    return _checked(EditRequest, {"removals": parsed, **fields}, "The request", "See expunge edit --help.")


def _checked(model: type[Model], fields: Mapping[str, Any], subject: str, remedy: str) -> Model:
    try:
        return model(**fields)
    except ValidationError as error:
        first = invalid_fields(error.errors())[0]
        where = f"{first.field}: " if first.field else ""
        raise UsageError(f"{subject}: {where}{first.message}.", field=first.field, remedy=remedy) from error
