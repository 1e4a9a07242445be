"""Forms of pages: their fields as text, and the same validation as the bodies of API requests."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile

from api_schemas.problems import invalid_fields
from service.errors import InvalidRequest

Model = TypeVar("Model", bound=BaseModel)


class FormFields:
    """The text fields of a form."""

    def __init__(self, values: Mapping[str, list[str]]) -> None:
        self._values = values

    def text(self, name: str) -> str:
        """Return a field without surrounding space; empty if the form has none."""
        return self._values.get(name, [""])[-1].strip()

    def optional(self, name: str) -> str | None:
        """Return a field, or None if it is empty."""
        return self.text(name) or None

    def number(self, name: str) -> int:
        """Return a whole number, or 0, which no version is."""
        text = self.text(name)
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0

    def all(self, name: str) -> list[str]:
        """Return all fields of a name that are not empty."""
        return [text.strip() for text in self._values.get(name, []) if text.strip()]

    def lines(self, name: str) -> list[str]:
        """Return the lines of a field that are not empty."""
        return [line.strip() for line in self.text(name).splitlines() if line.strip()]

    def group(self, prefix: str) -> dict[str, str]:
        """Return the fields whose names start with a prefix, without it."""
        return {name.removeprefix(prefix): self.text(name) for name in self._values if name.startswith(prefix)}


async def _read_form(request: Request) -> FormFields:
    form = await request.form(max_files=0, max_fields=2000)
    values: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        if not isinstance(value, UploadFile):
            values.setdefault(name, []).append(value)
    return FormFields(values)


FormDep = Annotated[FormFields, Depends(_read_form)]


def parse(model: type[Model], values: Mapping[str, Any]) -> Model:
    """Return the request of a form. Raises `InvalidRequest` naming each field."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InvalidRequest(
            "Some fields are not valid.", remedy="Correct the named fields.", errors=invalid_fields(error.errors())
        ) from error
