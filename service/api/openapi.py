"""The OpenAPI document: FastAPI's own, plus scopes, problem responses and an example of each body.

The version is 3.2, the first that can describe the items of a stream. `openapi_schemas.render_for_generators` rewrites it as
3.1, which client generators read.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from api_schemas.access import SCOPE_DESCRIPTIONS
from api_schemas.attestation import Envelope
from api_schemas.batches import BatchRequest
from api_schemas.problems import PROBLEM_JSON
from service.api.openapi_examples import EXAMPLES, EXAMPLES_BY_PATH, example_page
from service.api.openapi_schemas import PAGE_SUFFIX, RESPONSE_SUFFIX, rename_schemas

JSON = "application/json"
OPENAPI_VERSION = "3.2.0"
SECURITY_SCHEME_NAME = "HTTPBearer"
SECURITY_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key, sent as `Authorization: Bearer <key>`.",
}
SERVERS = [{"url": "/", "description": "The service that serves this document."}]
RAW_BODIES = APIRouter()
"""A route that is in no document. Its models are bodies that other routes parse or send themselves, unknown to FastAPI."""

Operation = dict[str, Any]


@RAW_BODIES.post("/raw_bodies", responses={"4XX": {}})
def _raw_bodies(body: BatchRequest) -> Envelope:
    raise NotImplementedError


def operation_id(route: APIRoute) -> str:
    """Return `<tag>_<function>`, such as `edits_create`: the name of a generated client's method."""
    return "_".join([*map(str, route.tags[:1]), route.name])


def install(app: FastAPI) -> None:
    """Make the application serve this document at /openapi.json."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = build_document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def build_document(app: FastAPI) -> dict[str, Any]:
    """Build the OpenAPI document."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version=OPENAPI_VERSION,
        description=app.description,
        routes=[*app.routes, *RAW_BODIES.routes],
        webhooks=app.webhooks.routes,
        tags=app.openapi_tags,
        servers=SERVERS,
    )
    del document["paths"]["/raw_bodies"]
    document = rename_schemas(document)
    document["components"]["securitySchemes"] = {SECURITY_SCHEME_NAME: SECURITY_SCHEME}
    scopes = dict(_operation_scopes(app))
    for path, operations in (document["paths"] | document["webhooks"]).items():
        for method, operation in operations.items():
            _complete_operation(path, operation, scopes.get((path, method)))
    return document


def _complete_operation(path: str, operation: Operation, scope: str | None) -> None:
    """Add the scope, the problem media type and the examples to an operation."""
    if scope:
        operation["security"] = [{SECURITY_SCHEME_NAME: []}]
        operation["x-scope"] = scope
        meaning = SCOPE_DESCRIPTIONS[scope]  # type: ignore[index]
        operation["description"] = f"{operation.get('description', '')}\n\nScope `{scope}`: {meaning}.".lstrip()
    for status, response in operation["responses"].items():
        if status in ("4XX", "5XX") and JSON in response.get("content", {}):
            response["content"] = {PROBLEM_JSON: response["content"].pop(JSON)}
    _add_examples(path, operation)


def _add_examples(path: str, operation: Operation) -> None:
    """Add an example to each request and response body."""
    bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
    for media_type, content in ((kind, c) for body in bodies for kind, c in body.get("content", {}).items()):
        name = content.get("schema", {}).get("$ref", "").rpartition("/")[2].removesuffix(RESPONSE_SUFFIX)
        example = EXAMPLES_BY_PATH.get(path) if media_type == JSON and not name else _find_example(name)
        if example is not None:
            content.setdefault("example", example)


def _find_example(name: str) -> Any:
    if name.endswith(PAGE_SUFFIX):
        return example_page(EXAMPLES[name.removesuffix(PAGE_SUFFIX)])
    return EXAMPLES.get(name)


def _operation_scopes(app: FastAPI) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the path, method and required scope of each operation."""
    for route in iter_routes(app):
        for scope in _required_scopes(route.dependant) if hasattr(route, "dependant") else ():
            for method in route.methods:
                yield (route.path_format, method.lower()), scope


def _required_scopes(dependant: Dependant) -> Iterator[str]:
    yield from dependant.own_oauth_scopes or ()
    for inner in dependant.dependencies:
        yield from _required_scopes(inner)


def iter_routes(app: FastAPI) -> Iterator[Any]:
    """Yield each route that has methods."""
    yield from _flatten(app.routes)


def allowed_methods(app: FastAPI, path: str) -> list[str]:
    """Return the methods of all routes that match a path; the framework reports those of one route only."""
    return sorted({method for route in iter_routes(app) if route.path_regex.match(path) for method in route.methods})


def _flatten(routes: Iterable[Any]) -> Iterator[Any]:
    for route in routes:
        if inner := getattr(route, "effective_route_contexts", None):  # of an included router
            yield from _flatten(inner())
        elif getattr(route, "methods", None):
            yield route
