"""The OpenAPI contract: complete descriptions, valid examples, unchanged wire shapes."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import jsonschema
import pytest
from fastapi import FastAPI

from api_schemas.events import STREAM_END, Event
from api_schemas.sse import EventStreamParser
from service.api.openapi_examples import EXAMPLE_MODELS
from service.store.orm import MAX_INTEGER
from tests.contract import wire

OPEN = {"/healthz", "/readyz", "/metrics"}


@pytest.fixture(scope="module")
def contract(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


def operations(contract: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in contract["paths"].items():
        yield from ((f"{method} {path}", operation) for method, operation in methods.items())


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for body in (operation.get("requestBody", {}), *operation["responses"].values()):
        yield from body.get("content", {}).items()


def one(example: Any) -> list[Any]:
    return [example]


def lines(example: str) -> list[Any]:
    return [json.loads(line) for line in example.splitlines()]


def messages(example: str) -> list[Any]:
    parser = EventStreamParser()
    return [asdict(message) for message in map(parser.feed, example.split("\n")) if message]


ITEMS = {"text/event-stream": messages, "application/jsonl": lines}
"""Media types that are sequences, with a parser of their items."""


def test_every_operation_has_summary_description_and_scope(contract: dict[str, Any]) -> None:
    for name, operation in operations(contract):
        assert operation["summary"], name
        assert operation["description"], name
        assert ("x-scope" in operation) == (name.split()[1] not in OPEN), name
        for parameter in operation.get("parameters", []):
            assert parameter.get("description") or parameter["in"] == "query", (name, parameter["name"])


def test_every_body_has_a_valid_example(contract: dict[str, Any]) -> None:
    for name, operation in operations(contract):
        for media_type, content in contents(operation):
            if media_type == "*/*":
                continue
            assert "example" in content, (name, media_type)
            for value in ITEMS.get(media_type, one)(content["example"]):
                schema = content["itemSchema" if media_type in ITEMS else "schema"]
                jsonschema.validate(value, {**schema, "components": contract["components"]})


def test_stream_example_has_an_event_and_the_end(contract: dict[str, Any]) -> None:
    stream = contract["paths"]["/v1/edits/{edit_id}/stream"]["get"]["responses"]["200"]["content"]["text/event-stream"]
    first, last = messages(stream["example"])
    assert Event.model_validate_json(first["data"]).seq == int(first["id"])
    assert last["event"] == STREAM_END
    for spoilt in (first | {"event": "other"}, first | {"id": "x"}, {"event": STREAM_END}, last | {"data": "x"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(spoilt, stream["itemSchema"])


def test_integer_parameters_fit_their_columns(contract: dict[str, Any]) -> None:
    for name, operation in operations(contract):
        for parameter in operation.get("parameters", []):
            for kind in parameter["schema"].get("anyOf", [parameter["schema"]]):
                assert kind.get("type") != "integer" or kind["maximum"] <= MAX_INTEGER, (name, parameter["name"])


def test_error_responses_are_problem_documents(contract: dict[str, Any]) -> None:
    for name, operation in operations(contract):
        for status in ("4XX", "5XX"):
            assert list(operation["responses"][status]["content"]) == ["application/problem+json"], name


@pytest.mark.parametrize("example", EXAMPLE_MODELS, ids=lambda example: type(example).__name__)
def test_examples_round_trip(example: Any) -> None:
    assert type(example).model_validate_json(example.model_dump_json(by_alias=True)) == example


def test_wire_shapes_are_unchanged() -> None:
    """To accept a change: `python -m tests.contract.wire > tests/contract/wire.json`."""
    assert wire.wire() == json.loads(wire.FILE.read_text())
