"""Bodies in which an object names a key twice are refused."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("path", "body", "key"),
    [
        ("/v1/edits", '{"removals": [{"concept": "fox"}], "model": "tiny", "model": "other"}', "model"),
        ("/v1/edits", '{"model": "tiny", "removals": [{"concept": "fox", "concept": "owl"}]}', "concept"),
        ("/v1/edits:validate", '{"removals": [{"concept": "fox"}], "seed": 1, "seed": 2}', "seed"),
        ("/v1/batches", '{"model": "tiny", "removals": [{"concept": "fox", "concept": "owl"}]}', "concept"),
        ("/v1/webhook_endpoints", '{"url": "https://a.example/", "url": "https://b.example/"}', "url"),
        ("/hf/api/models/expunge/tiny/paths-info/main", '{"paths": ["a"], "paths": ["b"]}', "paths"),
    ],
)
def test_repeated_key_is_named(client: TestClient, path: str, body: str, key: str) -> None:
    response = client.post(path, content=body, headers=JSON)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "invalid_request"), problem
    assert [(error["field"], error["code"]) for error in problem["errors"]] == [(key, "duplicate_key")]


@pytest.mark.parametrize("path", ["/v1/edits", "/v1/batches", "/v1/webhook_endpoints"])
def test_malformed_json_is_still_reported(client: TestClient, path: str) -> None:
    response = client.post(path, content="{", headers=JSON)
    assert (response.status_code, response.json()["code"]) == (400, "malformed_json")


@pytest.mark.parametrize(("sites", "refused"), [([50], [0]), ([0, 5, 6, 7], [2, 3]), ([5], []), ("auto", [])])
@pytest.mark.parametrize("path", ["/v1/edits"])
def test_layers_that_the_model_lacks_are_named(
    client: TestClient, deep_model: str, path: str, sites: Any, refused: list[int]
) -> None:
    body = {"model": deep_model, "removals": [{"concept": "fox"}], "options": {"sites": sites}}
    response = client.post(path, json=body)
    assert response.status_code == (422 if refused else 202), response.text
    fields = [error["field"] for error in response.json().get("errors", [])]
    assert fields == [f"options.sites[{index}]" for index in refused]
    if refused:
        assert "6 layers" in response.json()["errors"][0]["message"]
