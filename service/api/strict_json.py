"""JSON bodies in which no object names a key twice: parsers disagree on which of the values counts (RFC 8259, 4)."""

import json
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from api_schemas.problems import invalid_field
from service.errors import InvalidRequest, MalformedJson

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def parse_json(content: bytes) -> Any:
    """Return the document. Raises `MalformedJson`, or `InvalidRequest` for a repeated key."""
    try:
        return loads(content)
    except (ValueError, RecursionError) as error:
        raise MalformedJson("The body cannot be parsed.", remedy="Send one JSON object.") from error


def loads(content: bytes) -> Any:
    """Return the document. Raises `InvalidRequest` for a repeated key, and what `json.loads` raises."""
    return json.loads(content, object_pairs_hook=_unique)


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((key, _),) = Counter(key for key, _ in pairs).most_common(1)
        error = invalid_field(
            [key], code="duplicate_key", message="is named twice in one object", remedy="Name each key once."
        )
        raise InvalidRequest("An object of the body names a key twice.", errors=[error])
    return found


class StrictJsonRoute(APIRoute):
    """A route that refuses bodies with repeated keys."""

    def get_route_handler(self) -> Handler:
        """Return the handler of requests whose `json` is strict."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_StrictRequest(request.scope, request.receive))

        return handle


class _StrictRequest(Request):
    async def json(self) -> Any:
        """Return the parsed body. Raises `InvalidRequest`."""
        return loads(await self.body())
