"""Describe settings: the form that each expects, and what is wrong with a value."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from service.store.setting_names import PREFIX
from service.store.setting_types import Form

HIDDEN = "(hidden)"
"""Shown in place of values that may contain a password."""
_BOUNDS = (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))


def variable_name(field_name: str) -> str:
    """Return the environment variable of a setting."""
    return f"{PREFIX}{field_name.upper()}"


def describe_form(field: FieldInfo) -> Form:
    """Return the form that a setting expects: that of its type, or one that is made from its type and bounds."""
    if form := next((item for item in field.metadata if isinstance(item, Form)), None):
        return form
    kinds: dict[Any, str] = {bool: "true or false", int: "an integer", float: "a number"}
    if get_origin(field.annotation) is Literal:
        text = " or ".join(map(str, get_args(field.annotation)))
    else:
        text = ", ".join([kinds.get(field.annotation, "text"), *_bounds(field)])
    return Form(text, format_default(field.default))


def format_default(value: object) -> str:
    """Return a default as it is written in a shell."""
    if value is None or value in ("", [], {}):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).lower() if isinstance(value, bool) else str(Path(value) if isinstance(value, Path) else value)


def describe_problem(name: str, shown: object, form: Form) -> str:
    """Return the sentence about a variable whose value is not valid."""
    value = HIDDEN if shown is HIDDEN else f"'{shown}'"
    return f"{name} is {value}; expected {form.text}, for example {name}={form.example}"


def explain(settings: type[BaseModel], error: ValidationError) -> dict[str, str]:
    """Translate the error of a settings class into one sentence for each variable."""
    problems = {}
    for item in error.errors(include_url=False):
        field_name = str(item["loc"][0]) if item["loc"] else ""
        field, name = settings.model_fields[field_name], variable_name(field_name)
        shown = item["input"] if field.repr else HIDDEN
        problems[name] = describe_problem(name, shown, describe_form(field))
    return problems


def _bounds(field: FieldInfo) -> Iterator[str]:
    """Yield the bounds of a number."""
    for constraint in field.metadata:
        for name, sign in _BOUNDS:
            if (value := getattr(constraint, name, None)) is not None:
                yield f"{sign} {value:g}" if abs(value) < 1_000_000 else f"{sign} {value}"
