"""What client generators need of the contract at `/openapi.json`. `make generators` runs three of them."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api_schemas.edits import EditRequest, Removal
from api_schemas.jobs import Edit
from service.api.openapi_examples import EDIT
from tests.contract.test_openapi import contents, one, operations

REFERENCE = "#/components/schemas/"


@pytest.fixture(scope="module")
def contract(app: FastAPI) -> dict[str, Any]:
    document: dict[str, Any] = TestClient(app).get("/openapi.json").json()
    return document


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a document."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(child)


def test_versions(app: FastAPI) -> None:
    client = TestClient(app)
    versions = [client.get(path).json()["openapi"] for path in ("/openapi.json", "/openapi-3.2.json")]
    assert versions == ["3.1.0", "3.2.0"]


def test_nothing_in_it_is_newer_than_3_1(contract: dict[str, Any]) -> None:
    assert not any({"itemSchema", "$self", "additionalOperations", "query"} & set(node) for node in nodes(contract))


def test_schema_titles_are_unique_names(contract: dict[str, Any]) -> None:
    schemas = contract["components"]["schemas"]
    assert all(schema["title"] == name and name.isidentifier() for name, schema in schemas.items())
    assert {"BatchRequest", "Edit", "Plan", "AuditReport"} <= set(schemas)
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_reference_has_a_target(contract: dict[str, Any]) -> None:
    named = {node["$ref"].removeprefix(REFERENCE) for node in nodes(contract) if isinstance(node.get("$ref"), str)}
    assert named ^ set(contract["components"]["schemas"]) == {"Envelope"}  # an item, which only 3.2 refers to


def test_operations_and_webhooks_have_ids_and_tags_of_their_own(contract: dict[str, Any]) -> None:
    routes = [operation for _, operation in operations(contract)]
    messages = [operation for one in contract["webhooks"].values() for operation in one.values()]
    ids = [operation["operationId"] for operation in routes + messages]
    assert len(set(ids)) == len(ids)
    assert all(name.isidentifier() for name in ids)
    tags = [{tag for operation in group for tag in operation["tags"]} for group in (routes, messages)]
    assert not tags[0] & tags[1]


def test_server_and_webhook_messages_are_described(contract: dict[str, Any]) -> None:
    assert contract["servers"][0]["url"] == "/"
    message = contract["webhooks"]["edit"]["post"]
    schema = {**message["requestBody"]["content"]["application/json"]["schema"], "components": contract["components"]}
    jsonschema.validate(message["requestBody"]["content"]["application/json"]["example"], schema)
    headers = {"webhook-id", "webhook-timestamp", "webhook-signature"}
    assert {parameter["name"] for parameter in message["parameters"]} == headers


def test_request_fields_with_defaults_are_optional(contract: dict[str, Any]) -> None:
    schemas = contract["components"]["schemas"]
    assert {name: schemas[name]["required"] for name in ("EditRequest", "Removal", "BatchRequest")} == {
        "EditRequest": ["removals"],
        "Removal": ["concept"],
        "BatchRequest": ["removals"],
    }
    for name in ("EditRequest", "Removal", "EditOptions", "Validation", "BatchRequest", "WebhookEndpointRequest"):
        assert not any("default" in field for field in schemas[name]["properties"].values()), name
    assert "Default: 192." in schemas["Validation"]["properties"]["prompts"]["description"]


def test_response_fields_are_all_present(contract: dict[str, Any]) -> None:
    schemas = contract["components"]["schemas"]
    for name in ("Edit", "EditRequestOutput", "RemovalOutput", "EditPage", "BatchItem", "Problem"):
        assert set(schemas[name]["required"]) == set(schemas[name]["properties"]), name


def test_examples_are_valid(contract: dict[str, Any]) -> None:
    for name, operation in operations(contract):
        for media_type, content in contents(operation):
            for value in one(content["example"]) if "example" in content else ():
                jsonschema.validate(value, {**content["schema"], "components": contract["components"]})
            assert content["schema"] or media_type == "application/json", name


def test_models_round_trip_through_the_schemas(contract: dict[str, Any]) -> None:
    components = {"components": contract["components"]}
    request = EditRequest(removals=[Removal(concept="fox")])
    for name, sent in (
        ("EditRequest", request.model_dump(mode="json", exclude_unset=True)),
        ("EditRequestOutput", request.model_dump(mode="json")),
        ("Edit", EDIT.model_dump(mode="json")),
    ):
        jsonschema.validate(sent, {"$ref": REFERENCE + name, **components})
    assert Edit.model_validate_json(json.dumps(EDIT.model_dump(mode="json"))) == EDIT


def test_unions_name_constants_as_enumerations(contract: dict[str, Any]) -> None:
    """openapi-python-client refuses a list where the first member of the union is a constant."""
    for node in nodes(contract):
        for member in [*node.get("anyOf", []), *node.get("oneOf", [])]:
            assert "const" not in member
