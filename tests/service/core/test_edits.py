"""`POST /v1/edits`: valid requests are queued; invalid ones are rejected and queue nothing."""

import threading
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from api_schemas.jobs import Edit
from api_schemas.problems import PROBLEM_JSON, Problem
from service.api.app import create_app
from service.core.app_state import AppState
from service.store.database import Database
from service.store.orm import Event, IdempotencyKey, Job, OutboxMessage
from tests.fakes.model import LONGEST_PHRASE

BODY: dict[str, Any] = {"model": "tiny", "removals": [{"concept": "fox", "replacement": "dog face"}]}
JSON = {"Content-Type": "application/json"}


def count(database: Database, table: type[Any]) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def removal(**fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "removals": [{"concept": "fox", **fields}]}


def test_valid_request_is_queued(client: TestClient, database: Database) -> None:
    response = client.post("/v1/edits", json=BODY)
    assert response.status_code == 202
    edit = Edit.model_validate_json(response.content)
    assert response.headers["Location"] == edit.urls.self == f"/v1/edits/{edit.id}"
    assert (edit.status, edit.attempt, edit.request.validation.seeds) == ("queued", 0, 1)
    assert client.get(edit.urls.self).json() == response.json()
    assert (count(database, Job), count(database, OutboxMessage), count(database, Event)) == (1, 1, 1)


LONG = "word " * (LONGEST_PHRASE + 1)

BAD: dict[str, tuple[Any, str, str]] = {
    "no removals": ({"model": "tiny"}, "removals", "missing"),
    "empty list": ({"model": "tiny", "removals": []}, "removals", "too_short"),
    "unknown model": (BODY | {"model": "sd-99"}, "model", "unknown_model"),
    "a path as model": (BODY | {"model": "../etc"}, "model", "string_pattern_mismatch"),
    "empty concept": (removal(concept="  "), "removals[0].concept", "string_too_short"),
    "too many characters": (removal(concept="x" * 201), "removals[0].concept", "string_too_long"),
    "too many tokens": (removal(concept=LONG), "removals[0].concept", "phrase_too_long"),
    "too long a replacement": (removal(replacement=LONG), "removals[0].replacement", "phrase_too_long"),
    "too long an alias": (removal(aliases=["ok", LONG]), "removals[0].aliases[1]", "phrase_too_long"),
    "too long a title": (removal(titles=[LONG]), "removals[0].titles[0]", "phrase_too_long"),
    "too long a pin": (BODY | {"options": {"pins": ["ok", LONG * 3]}}, "options.pins[1]", "phrase_too_long"),
    "a pin that is removed": (removal(concept="fox") | {"options": {"pins": ["a fox"]}}, "options", "contradiction"),
    "itself as replacement": (removal(replacement=" Fox "), "removals[0].replacement", "same_as_concept"),
    "unknown field": (removal(strength=3), "removals[0].strength", "extra_forbidden"),
    "unknown top field": (BODY | {"webhook": "x"}, "webhook", "extra_forbidden"),
    "number as concept": (removal(concept=7), "removals[0].concept", "string_type"),
    "text as number": (BODY | {"seed": "1"}, "seed", "int_type"),
    "true as number": (BODY | {"validation": {"seeds": True}}, "validation.seeds", "int_type"),
    "unknown kind": (removal(kind="place"), "removals[0].kind", "literal_error"),
    "out of bounds": (BODY | {"validation": {"seeds": 17}}, "validation.seeds", "less_than_equal"),
    "no preservation": (BODY | {"options": {"preservation": 0}}, "options.preservation", "preservation"),
    "control character": (removal(concept="fo\x00x"), "removals[0].concept", "control_character"),
    "the same twice": ({"model": "tiny", "removals": [{"concept": "a"}, {"concept": "A"}]}, "removals", "duplicate"),
    "removed and wanted": (
        {"model": "tiny", "removals": [{"concept": "a"}, {"concept": "b", "preserve": ["a"]}]},
        "removals",
        "contradiction",
    ),
    "too much metadata": (BODY | {"metadata": {"k": "v" * 513}}, "metadata.k", "string_too_long"),
    "no object": ([1], "", "model_attributes_type"),
}


@pytest.mark.parametrize("case", BAD)
def test_invalid_request_names_the_field_and_queues_nothing(client: TestClient, database: Database, case: str) -> None:
    body, field, code = BAD[case]
    response = client.post("/v1/edits", json=body)
    assert (response.status_code, response.headers["content-type"]) == (422, PROBLEM_JSON)
    problem = Problem.model_validate_json(response.content)
    assert [(error.field, error.code) for error in problem.errors] == [(field, code)]
    assert all(error.remedy and error.message for error in problem.errors)
    assert (count(database, Job), count(database, OutboxMessage)) == (0, 0)


def test_every_invalid_field_is_named(client: TestClient) -> None:
    body = {"model": "tiny", "removals": [{"concept": ""}, {"kind": "object"}], "seed": -1}
    errors = client.post("/v1/edits", json=body).json()["errors"]
    pointers = {error["pointer"] for error in errors}
    assert pointers == {"/removals/0/concept", "/removals/1/concept", "/seed"}


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b'{"model": ', JSON, 400, "malformed_json"),
        (b"", JSON, 422, "invalid_request"),
        (b'{"removals": [' + b"1," * 5000 + b"1]}", JSON, 413, "body_too_large"),
        (b'{"model": "tiny"}', {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        (b"\xff\xfe", JSON, 400, "malformed_json"),
        (b"[" * 4000, JSON, 400, "malformed_json"),
        (b'{"removals": [{"concept": "\\ud800"}]}', JSON, 422, "invalid_request"),
        (b'{"\\ud800": 1}', JSON, 422, "invalid_request"),
        (b'{"removals": [{"concept": "fox"}], "seed": NaN}', JSON, 422, "invalid_request"),
    ],
)
def test_malformed_body_is_rejected(
    client: TestClient, database: Database, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    response = client.post("/v1/edits", content=content, headers=headers)
    problem = Problem.model_validate_json(response.content)
    assert (response.status_code, problem.code) == (status, code)
    assert response.headers["content-type"] == PROBLEM_JSON
    assert problem.remedy or problem.errors
    assert count(database, Job) == 0


def test_size_limit_applies_without_content_length(client: TestClient, database: Database) -> None:
    def chunks() -> Any:
        for _ in range(100):
            yield b" " * 1000

    response = client.post("/v1/edits", content=chunks(), headers=JSON)
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert count(database, Job) == 0


def test_repeated_key_returns_the_same_job(client: TestClient, database: Database) -> None:
    key = {"Idempotency-Key": "take-down-17"}
    first, second = (client.post("/v1/edits", json=BODY, headers=key) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    assert first.headers["Location"] == second.headers["Location"]
    assert [reply.headers["Idempotent-Replayed"] for reply in (first, second)] == ["false", "true"]
    assert count(database, Job) == 1


def test_field_order_does_not_change_the_fingerprint(client: TestClient, database: Database) -> None:
    key = {"Idempotency-Key": "k"}
    client.post("/v1/edits", json=BODY, headers=key)
    response = client.post("/v1/edits", json=dict(reversed(BODY.items())) | {"seed": 0}, headers=key)
    assert response.status_code == 202
    assert count(database, Job) == 1


def test_reused_key_with_another_body_is_rejected(client: TestClient, database: Database) -> None:
    key = {"Idempotency-Key": "k"}
    client.post("/v1/edits", json=BODY, headers=key)
    response = client.post("/v1/edits", json=BODY | {"seed": 1}, headers=key)
    assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")
    assert count(database, Job) == 1


def test_rejected_request_does_not_consume_its_key(client: TestClient, database: Database) -> None:
    key = {"Idempotency-Key": "k"}
    assert client.post("/v1/edits", json=removal(concept=""), headers=key).status_code == 422
    assert count(database, IdempotencyKey) == 0
    assert client.post("/v1/edits", json=BODY, headers=key).status_code == 202


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_malformed_key_is_rejected(client: TestClient, key: str) -> None:
    response = client.post("/v1/edits", json=BODY, headers={"Idempotency-Key": key})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_idempotency_key")


def test_key_can_be_made_mandatory(app_state: AppState, client: TestClient, database: Database) -> None:
    strict = replace(app_state, settings=app_state.settings.model_copy(update={"require_idempotency_key": True}))
    edit_id = client.post("/v1/edits", json=BODY).json()["id"]
    with TestClient(create_app(strict), headers=client.headers) as wary:
        for path, body in (("/v1/edits", BODY), ("/v1/batches", BODY), (f"/v1/edits/{edit_id}/revoke", None)):
            response = wary.post(path, json=body)
            assert (response.status_code, response.json()["code"]) == (400, "idempotency_key_required"), path
        assert count(database, Job) == 1
        assert wary.post("/v1/edits", json=BODY, headers={"Idempotency-Key": "k"}).status_code == 202


def test_one_key_makes_one_job_under_concurrency(client: TestClient, database: Database) -> None:
    ids: list[str] = []

    def submit() -> None:
        ids.append(client.post("/v1/edits", json=BODY, headers={"Idempotency-Key": "k"}).json()["id"])

    threads = [threading.Thread(target=submit) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(ids), len(set(ids)), count(database, Job)) == (16, 1, 1)
