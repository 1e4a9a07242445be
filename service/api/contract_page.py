"""The OpenAPI document as one HTML page without scripts, so that it needs nothing from other hosts."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "h2{margin-top:2.5rem;font-size:1.1rem}code,pre{font-size:.85rem}pre{background:#f4f4f4;padding:.75rem;overflow-x:auto}"
    "td,th{text-align:left;vertical-align:top;padding:.15rem 1rem .15rem 0}summary{cursor:pointer}"
)


def render_page(document: dict[str, Any]) -> str:
    """Return the page: every operation with its parameters and the examples of its bodies."""
    info = document["info"]
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f"<title>{escape(info['title'])} API</title><style>{STYLE}</style></head><body>",
            f"<h1>{escape(info['title'])} API {escape(info['version'])}</h1><p>{escape(info['description'])}</p>",
            '<p>For machines: <a href="openapi.json">OpenAPI 3.1</a> and <a href="openapi-3.2.json">OpenAPI 3.2</a>.</p>',
            *(
                part
                for path, operations in document["paths"].items()
                for method, operation in operations.items()
                for part in _operation(method, path, operation)
            ),
            "</body></html>",
        ]
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f'<h2 id="{escape(operation["operationId"])}"><code>{method.upper()} {escape(path)}</code></h2>'
    yield f"<p><strong>{escape(operation['summary'])}.</strong> {escape(operation['description'])}</p>"
    if parameters := operation.get("parameters"):
        cells = ((parameter["name"], parameter["in"], parameter.get("description", "")) for parameter in parameters)
        yield "<table>"
        yield from (f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in cells)
        yield "</table>"
    yield from _examples("Request", operation.get("requestBody", {}))
    for status, response in operation["responses"].items():
        yield from _examples(f"Response {status}", response) if status.startswith("2") else ()


def _examples(title: str, body: dict[str, Any]) -> Iterator[str]:
    for media_type, content in body.get("content", {}).items():
        example = content.get("example")
        shown = example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)
        if example is not None:
            yield f"<details><summary>{title}, {escape(media_type)}</summary><pre>{escape(shown)}</pre></details>"
