"""Replies that generated requests seldom reach conform to the contract: status, media type and schema."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from schemathesis.checks import CHECKS
from schemathesis.specs.openapi.schemas import OpenApiSchema

from api_schemas.client import Client
from api_schemas.edits import EditRequest, Removal
from tests.contract.live import LiveService, live_service

CONFORMANCE = CHECKS.get_by_names(
    ["status_code_conformance", "content_type_conformance", "response_schema_conformance"]
)
EDIT = "/v1/edits/{edit_id}"
FILE, REVISION = f"{EDIT}/artifacts/{{name}}", "/v1/models/{model_id}/revisions/{number}/artifacts/{name}"
HUB, WEIGHTS = "/hf/{namespace}/{repo}/resolve/{revision}/{name}", "text_encoder/model.safetensors"


@dataclass(frozen=True)
class Contract:
    """The contract of a running service, and path parameters of its resources."""

    live: LiveService
    operations: OpenApiSchema
    names: dict[str, str]


@pytest.fixture(scope="module")
def contract() -> Iterator[Contract]:
    with live_service() as live, Client(live.url, live.key) as client:
        edit = client.edits.create(EditRequest(model="tiny", removals=[Removal(concept="fox")], ledger=True)).wait()
        names = {"edit_id": edit.id, "model_id": "tiny", "number": "1"}
        hub = {"namespace": "expunge", "repo": edit.id, "revision": "main"}
        operations = schemathesis.openapi.from_url(f"{live.url}/openapi-3.2.json", headers=_key(live))
        yield Contract(live, operations, names | hub)


@pytest.mark.parametrize(
    ("path", "asked", "status", "media_type"),
    [
        (FILE, {"name": "manifest.json"}, 200, "application/json"),
        (FILE, {"name": WEIGHTS}, 200, "application/octet-stream"),
        (FILE, {"name": "manifest.json", "Range": "bytes=0-9"}, 206, "application/json"),
        (FILE, {"name": "manifest.json", "If-None-Match": "*"}, 304, ""),
        (REVISION, {"name": "manifest.json"}, 200, "application/json"),
        (HUB, {"name": "report.json"}, 200, "application/json"),
        (f"{EDIT}/report", {}, 200, "application/json"),
        (f"{EDIT}/report", {"format": "html"}, 200, "text/html; charset=utf-8"),
        (f"{EDIT}/report", {"format": "pdf"}, 200, "application/pdf"),
        (f"{EDIT}/report", {"Accept": "application/pdf"}, 200, "application/pdf"),
        (f"{EDIT}/report.{{format}}", {"format": "pdf"}, 200, "application/pdf"),
        (f"{EDIT}/report.{{format}}", {"format": "json"}, 200, "application/json"),
        (f"{EDIT}/report.{{format}}", {"format": "html"}, 200, "text/html; charset=utf-8"),
        (f"{EDIT}/stream", {}, 200, "text/event-stream; charset=utf-8"),
        (f"{EDIT}/stream", {"Last-Event-ID": "1000"}, 204, ""),
        (EDIT, {"If-None-Match": "*"}, 304, ""),
        (f"{EDIT}/events", {"after": str(2**63)}, 422, "application/problem+json"),
        (f"{EDIT}/stream", {"Last-Event-ID": str(2**63)}, 422, "application/problem+json"),
    ],
)
def test_reply_conforms_to_the_contract(
    contract: Contract, path: str, asked: dict[str, Any], status: int, media_type: str
) -> None:
    response = _send_and_validate(contract, "GET", path, asked)
    assert (response.status_code, *response.headers.get("content-type", [""])) == (status, media_type)


def test_awaited_edit_conforms_to_the_contract(contract: Contract) -> None:
    body = {"model": "tiny", "removals": [{"concept": "fox"}]}
    assert _send_and_validate(contract, "POST", "/v1/edits", {"Prefer": "wait=30"}, body).status_code == 200


def _send_and_validate(contract: Contract, method: str, path: str, asked: dict[str, str], body: Any = None) -> Any:
    """Send a request. Parameters of the path, headers (capitalized) and query parameters are told apart by their names."""
    places = {name: value for name, value in {**contract.names, **asked}.items() if f"{{{name}}}" in path}
    headers = {name: value for name, value in asked.items() if name[0].isupper()}
    query = {name: value for name, value in asked.items() if name not in places | headers}
    sent = {"body": body, "media_type": "application/json"} if body else {}
    case = contract.operations[path][method].Case(path_parameters=places, headers=headers, query=query, **sent)
    response = case.call(headers=_key(contract.live))
    case.validate_response(response, checks=CONFORMANCE)
    return response


def _key(live: LiveService) -> dict[str, str]:
    return {"Authorization": f"Bearer {live.key}"}
