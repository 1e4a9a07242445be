"""The contract: what FastAPI knows of the routes, with an example of each reply, the scopes, and what errors look like.

OpenAPI 3.2 is the first that can say what the items of a stream are.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode

from api_schemas.access import MEANINGS
from api_schemas.attestation import Envelope
from api_schemas.batches import BatchRequest
from api_schemas.problems import PROBLEM_JSON
from service.api.openapi_examples import BY_PATH, EXAMPLES, page_of

JSON = "application/json"
OPENAPI = "3.2.0"
BEARER = "HTTPBearer"
KEY = {"type": "http", "scheme": "bearer", "description": "An API key. `RequireApiKey` checks it; this documents it."}
PAGE = re.compile(r"Page_(\w+)_")

Operation = dict[str, Any]


def install(app: FastAPI) -> None:
    """Have `app` answer this contract at /openapi.json."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = contract(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def contract(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version=OPENAPI,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    _add_schema(document, BatchRequest, "validation")
    _add_schema(document, Envelope, "serialization")
    document["components"]["securitySchemes"] = {BEARER: KEY}
    scopes = dict(_scopes(app))
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _describe(path, operation, scopes.get((path, method)))
    return document


def _add_schema(document: dict[str, Any], model: type[BaseModel], mode: JsonSchemaMode) -> None:
    """A body that the route itself reads, or sends as it lies there, and FastAPI knows nothing of."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}", mode=mode)
    found = document["components"]["schemas"]
    for name, part in schema.pop("$defs", {}).items():
        found.setdefault(name, part)
    found[model.__name__] = schema


def _describe(path: str, operation: Operation, scope: str | None) -> None:
    """Complete one operation."""
    if scope:
        operation["security"] = [{BEARER: []}]
        operation["x-scope"] = scope
        meaning = MEANINGS[scope]  # type: ignore[index]
        operation["description"] = f"{operation.get('description', '')}\n\nScope `{scope}`: {meaning}.".lstrip()
    for status, response in operation["responses"].items():
        if status in ("4XX", "5XX"):
            response["content"] = {PROBLEM_JSON: response["content"].pop(JSON)} if JSON in response["content"] else {}
    _exemplify(path, operation)


def _exemplify(path: str, operation: Operation) -> None:
    """An example for each body, asked and answered."""
    bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
    for media_type, content in ((kind, c) for body in bodies for kind, c in body.get("content", {}).items()):
        name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        name = name.removesuffix("-Input").removesuffix("-Output")
        example = BY_PATH.get(path) if media_type == JSON and not name else _example(name)
        if example is not None:
            content["example"] = example


def _example(name: str) -> Any:
    if page := PAGE.fullmatch(name):
        return page_of(EXAMPLES[page[1]])
    return EXAMPLES.get(name)


def _scopes(app: FastAPI) -> Iterator[tuple[tuple[str, str], str]]:
    """(path, method) -> the scope that the operation needs."""
    for route in routes_of(app):
        for scope in _needed(route.dependant) if hasattr(route, "dependant") else ():
            for method in route.methods:
                yield (route.path_format, method.lower()), scope


def _needed(dependant: Dependant) -> Iterator[str]:
    yield from dependant.own_oauth_scopes or ()
    for inner in dependant.dependencies:
        yield from _needed(inner)


def routes_of(app: FastAPI) -> Iterator[Any]:
    """Each route that has methods, with the path that it answers."""
    yield from _flat(app.routes)


def allowed_methods(app: FastAPI, path: str) -> list[str]:
    """What may be done at a path: a framework tells those of one of its routes alone."""
    return sorted({method for route in routes_of(app) if route.path_regex.match(path) for method in route.methods})


def _flat(routes: Iterable[Any]) -> Iterator[Any]:
    for route in routes:
        if inner := getattr(route, "effective_route_contexts", None):  # of an included router
            yield from _flat(inner())
        elif getattr(route, "methods", None):
            yield route
