"""The HTTP API reference, from the OpenAPI document."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from api_schemas.access import SCOPE_DESCRIPTIONS
from deploy.reference.markdown import GENERATED
from service.api.app import create_app
from service.core.app_state import AppState
from service.errors import ServiceError
from service.settings import ServiceSettings

ORDER = ("get", "post", "patch", "delete")
HEAD = f"""# API reference

{GENERATED} It lists every operation of the OpenAPI document that a running service returns at `/openapi-3.2.json`. How to use
it: [the HTTP API](../how-to/api.md).
"""
MAX_EXAMPLE_LINES = 40
"""Maximum number of lines of an example."""


def page() -> str:
    """Return the page."""
    document = _contract()
    parts = [HEAD, "".join(_scopes()), "".join(_problems())]
    for path, operations in document["paths"].items():
        parts += ["".join(_operation(method, path, operations[method])) for method in ORDER if method in operations]
    return "\n".join(parts)


def _contract() -> dict[str, Any]:
    """Return the OpenAPI document of an empty service; it does not depend on the data."""
    with tempfile.TemporaryDirectory() as folder:
        app_state = AppState.from_settings(ServiceSettings(data_dir=Path(folder), models={}, models_dir=None))
        return create_app(app_state).openapi()


def _scopes() -> Iterator[str]:
    yield "## Scopes\n\n| scope | permission |\n|---|---|\n"
    yield from (f"| `{scope}` | {meaning} |\n" for scope, meaning in SCOPE_DESCRIPTIONS.items())


def _problems() -> Iterator[str]:
    yield "## Problems\n\nEvery error response has one of these codes; its `type` is `urn:expunge:problem:<code>`.\n\n"
    yield "| code | status | meaning |\n|---|---|---|\n"
    subclasses = [kind for kind in ServiceError.__subclasses__() if kind.__module__ == ServiceError.__module__]
    kinds: list[type[ServiceError]] = [ServiceError, *subclasses]  # without the errors of the web pages
    for kind in sorted(kinds, key=lambda kind: (kind.status, kind.code)):
        yield f"| `{kind.code}` | {kind.status} | {kind.title} |\n"


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"## {method.upper()} {path}\n\n"
    description = " ".join(operation.get("description", "").split("\n\nScope")[0].split())
    yield f"{operation['summary']}. {description}\n\n"
    if scope := operation.get("x-scope"):
        yield f"Scope `{scope}`.\n\n"
    if parameters := operation.get("parameters"):
        yield "| parameter | in | description |\n|---|---|---|\n"
        yield from map(_parameter, parameters)
        yield "\n"
    for content in operation.get("requestBody", {}).get("content", {}).items():
        yield from _example("Request body", *content)
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            for content in response.get("content", {}).items():
                yield from _example(f"Response {status}", *content)


def _parameter(parameter: dict[str, Any]) -> str:
    schema = parameter["schema"]
    kinds = schema.get("anyOf", [schema])
    enums = [f"`{value}`" for kind in kinds for value in kind.get("enum", [])]
    default = schema.get("default")
    words = [parameter.get("description", ""), ", ".join(enums), f"Default {default}." if default is not None else ""]
    return f"| `{parameter['name']}` | {parameter['in']} | {' '.join(word for word in words if word)} |\n"


def _example(lead: str, media_type: str, content: dict[str, Any]) -> Iterator[str]:
    example = content.get("example")
    if example is None:
        yield f"{lead} `{media_type}`.\n\n"
        return
    is_json = not isinstance(example, str)
    lines = (json.dumps(example, indent=2, ensure_ascii=False) if is_json else example.rstrip("\n")).splitlines()
    shown = lines if len(lines) <= MAX_EXAMPLE_LINES else [*lines[:MAX_EXAMPLE_LINES], "  …"]
    yield f"{lead} `{media_type}`:\n\n```{'text' if len(shown) < len(lines) or not is_json else 'json'}\n"
    yield "\n".join(shown) + "\n```\n\n"
