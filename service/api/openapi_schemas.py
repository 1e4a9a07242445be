"""The schemas of the OpenAPI document: unique names, and a rendering as OpenAPI 3.1 for client generators."""

import json
import re
from collections.abc import Iterator
from typing import Any

GENERATORS_VERSION = "3.1.0"
"""The latest version that the common client generators read."""
RESPONSE_SUFFIX, PAGE_SUFFIX = "Output", "Page"
"""Of the names of schemas: a request's model in a response, where all fields are present, and a page of resources."""
REFERENCE = "#/components/schemas/"
_PAGE_TITLE = re.compile(r"Page\[(\w+)\]")

Json = dict[str, Any]


def rename_schemas(document: Json) -> Json:
    """Give each schema a unique name that is an identifier, and the same title: generators name classes by either."""
    schemas = document["components"]["schemas"]
    names = {key: _class_name(key, schema["title"]) for key, schema in schemas.items()}
    if len(set(names.values())) < len(names):
        raise ValueError(f"two schemas have the same title: {sorted(names.values())}")
    document["components"]["schemas"] = {
        names[key]: schema | {"title": names[key]}
        for key, schema in sorted(schemas.items(), key=lambda one: names[one[0]])
    }
    return _map_references(document, names)  # type: ignore[no-any-return]


def _class_name(key: str, title: str) -> str:
    """`Page[Edit]` -> `EditPage`; the response form of a model that is also a request gets a suffix."""
    name = _PAGE_TITLE.sub(rf"\1{PAGE_SUFFIX}", title)
    return name + RESPONSE_SUFFIX if key.endswith("-Output") else name


def _map_references(node: Any, names: dict[str, str]) -> Any:
    if isinstance(node, list):
        return [_map_references(item, names) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: REFERENCE + names.get(name := value.removeprefix(REFERENCE), name)
        if key == "$ref" and isinstance(value, str)
        else _map_references(value, names)
        for key, value in node.items()
    }


def render_for_generators(document: Json) -> Json:
    """Return the document as OpenAPI 3.1, without what makes generators drop or misread a schema.

    - Streams are plain text, because only 3.2 can describe their items; files are bytes of one media type.
    - A constant in a union is an enumeration of one value: openapi-python-client tries that before the other members.
    - The defaults of request fields are stated in their descriptions: generators make a field with a `default` mandatory, or
      drop the whole schema if the default is an object.
    """
    rendered: Json = json.loads(json.dumps(document)) | {"openapi": GENERATORS_VERSION}
    for body in _bodies(rendered):
        body["content"] = _plain_content(body["content"])
    for union in _unions(rendered):
        for member in union:
            if "const" in member:
                member["enum"] = [member.pop("const")]
    for name in _request_schemas(rendered):
        for field in rendered["components"]["schemas"][name].get("properties", {}).values():
            _describe_default(field)
    return rendered


def _operations(document: Json) -> Iterator[Json]:
    for operations in (document["paths"] | document["webhooks"]).values():
        yield from operations.values()


def _bodies(document: Json) -> Iterator[Json]:
    for operation in _operations(document):
        bodies = (operation.get("requestBody", {}), *operation["responses"].values())
        yield from (body for body in bodies if "content" in body)


def _plain_content(content: Json) -> Json:
    """Return the content of a body without sequences of items, and that of a file of any type as bytes."""
    if "*/*" in content:
        return {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    return {
        media_type: {"schema": {"type": "string"}, "example": described["example"]}
        if "itemSchema" in described
        else described
        for media_type, described in content.items()
    }


def _unions(node: Any) -> Iterator[list[Json]]:
    """Yield the members of each union of schemas."""
    if isinstance(node, list):
        for item in node:
            yield from _unions(item)
    elif isinstance(node, dict):
        yield from (node[key] for key in ("anyOf", "oneOf") if key in node)
        for value in node.values():
            yield from _unions(value)


def _request_schemas(document: Json) -> set[str]:
    """Return the names of all schemas that request bodies refer to, directly or not."""
    found: set[str] = set()
    bodies = [operation["requestBody"] for operation in _operations(document) if "requestBody" in operation]
    due = set(_references(bodies))
    while due:
        found |= due
        due = set(_references([document["components"]["schemas"][name] for name in due])) - found
    return found


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _references(item)
    elif isinstance(node, dict):
        if isinstance(reference := node.get("$ref"), str):
            yield reference.removeprefix(REFERENCE)
        for value in node.values():
            yield from _references(value)


def _describe_default(field: Json) -> None:
    """Move a field's default into its description. Objects consist of fields with defaults of their own."""
    default = field.pop("default", None)
    if default is not None and not isinstance(default, dict):
        stated = f"Default: {json.dumps(default)}."
        field["description"] = f"{field['description']} {stated}" if "description" in field else stated
