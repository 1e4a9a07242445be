"""Batches: valid removals become one edit, invalid ones are reported; CSV and JSON bodies."""

import codecs
from contextlib import suppress
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from api_schemas.edits import MAX_REMOVALS
from service.core.csv_removals import parse_csv
from service.errors import MalformedCsv
from service.store.database import Database
from service.store.orm import Job
from tests.fakes.model import LONGEST_PHRASE
from tests.service.core.test_edits import count

LONG = "word " * (LONGEST_PHRASE + 1)
CSV = {"Content-Type": "text/csv"}


def items(client: TestClient, batch: dict[str, Any]) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = client.get(batch["items_url"] + "?limit=1000").json()["data"]
    return data


def post(client: TestClient, *removals: Any, **more: Any) -> Any:
    return client.post("/v1/batches", json={"model": "tiny", "removals": list(removals), **more})


def test_removals_are_validated_independently(client: TestClient, database: Database) -> None:
    sent = [
        {"concept": "fox", "replacement": "dog"},
        {"concept": ""},
        {"concept": "Fox"},
        {"concept": LONG},
        7,
        {"concept": "owl", "strength": 3},
        {"concept": "cat", "replacement": "fox"},
        {"concept": "pizza"},
    ]
    response = post(client, *sent)
    assert response.status_code == 202
    batch = response.json()
    assert batch["counts"] == {"total": 8, "accepted": 2, "refused": 6}
    assert [one["concept"] for one in batch["edit"]["request"]["removals"]] == ["fox", "pizza"]
    found = items(client, batch)
    assert [item["status"] for item in found] == ["queued", *["refused"] * 6, "queued"]
    assert [item["place"] for item in found] == [0, *[None] * 6, 1]
    codes = [item["errors"][0]["code"] for item in found if item["errors"]]
    assert codes == [
        "string_too_short",
        "duplicate",
        "phrase_too_long",
        "model_type",
        "extra_forbidden",
        "replacement_removed",
    ]
    assert [item["errors"][0]["pointer"].split("/")[2] for item in found if item["errors"]] == list("123456")
    assert count(database, Job) == 1


def test_all_or_nothing_rejects_the_whole_batch(client: TestClient, database: Database) -> None:
    response = post(client, {"concept": "fox"}, {"concept": ""}, all_or_nothing=True)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "removals[1].concept")
    assert count(database, Job) == 0


def test_batch_without_valid_removals_is_rejected(client: TestClient) -> None:
    assert post(client, {"concept": ""}, 3).status_code == 422
    assert post(client).status_code == 422


def test_number_of_removals_is_limited(client: TestClient) -> None:
    many = [{"concept": f"thing {i}"} for i in range(MAX_REMOVALS)]
    response = post(client, *many)
    assert (response.status_code, response.json()["counts"]["accepted"]) == (202, MAX_REMOVALS)
    assert post(client, *many, {"concept": "one more"}).status_code == 422


def test_csv_batch_equals_json_batch(client: TestClient) -> None:
    text = 'concept,kind,aliases,replacement\r\nfox,,vixen|reynard,"dog, face"\r\n\r\nink,style,,\r\n=1+2,,,\r\n'
    response = client.post("/v1/batches?model=tiny", content=text.encode("utf-8-sig"), headers=CSV)
    assert response.status_code == 202
    removals = response.json()["edit"]["request"]["removals"]
    parsed = [(one["concept"], one["kind"], one["aliases"], one["replacement"]) for one in removals]
    assert parsed == [
        ("fox", "object", ["vixen", "reynard"], "dog, face"),
        ("ink", "style", [], "auto"),
        ("=1+2", "object", [], "auto"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"name\nfox\n",
        b"concept,concept\nfox,fox\n",
        b"concept,colour\nfox,red\n",
        b"concept\nfox,red\n",
        b'concept\n"fox\n',
        b"concept\nfo\x81\n",
        b"concept\n" + b"x\n" * (MAX_REMOVALS + 1),
        b"concept\n" + b'"' + b"x" * 200_000 + b'"\n',
    ],
)
def test_malformed_csv_is_rejected(client: TestClient, content: bytes) -> None:
    response = client.post("/v1/batches?model=tiny", content=content, headers=CSV)
    assert (response.status_code, response.json()["code"]) == (422, "malformed_csv")


SPREADSHEETS = {
    "semicolons": b"concept;replacement\nfox;dog, face\n",
    "tabs": b"concept\treplacement\nfox\tdog, face\n",
    "separator line": b'sep=;\r\nconcept;replacement\r\nfox;"dog, face"\r\n',
    "other separator": b"sep=^\nconcept^replacement\nfox^dog, face\n",
    "capitals": b'Concept,REPLACEMENT \nfox,"dog, face"\n',
    "quoted header": b'"concept";"replacement"\n"fox";"dog, face"\n',
    "UTF-16": "concept\treplacement\r\nfox\tdog, face\r\n".encode("utf-16"),
    "UTF-16 big endian": codecs.BOM_UTF16_BE + "concept;replacement\nfox;dog, face\n".encode("utf-16-be"),
}


@pytest.mark.parametrize("content", SPREADSHEETS.values(), ids=SPREADSHEETS)
def test_csv_of_spreadsheets_is_read(content: bytes) -> None:
    assert parse_csv(content) == [{"concept": "fox", "replacement": "dog, face"}]


@pytest.mark.parametrize("charset", ["", "iso-8859-1", "windows-1252"])
def test_csv_in_latin_1_is_read(client: TestClient, charset: str) -> None:
    headers = {"Content-Type": f"text/csv; charset={charset}" if charset else "text/csv"}
    content = "concept;replacement\nrenard argenté;bête\n".encode("latin-1")
    response = client.post("/v1/batches?model=tiny", content=content, headers=headers)
    (removal,) = response.json()["edit"]["request"]["removals"]
    assert (removal["concept"], removal["replacement"]) == ("renard argenté", "bête")


@pytest.mark.parametrize("name", SPREADSHEETS)
def test_csv_is_read_from_a_form(client: TestClient, name: str) -> None:
    file = ("removals.csv", SPREADSHEETS[name], "application/vnd.ms-excel")
    response = client.post("/v1/batches", files={"file": file}, data={"model": "tiny"})
    assert response.status_code == 202, response.text
    (removal,) = response.json()["edit"]["request"]["removals"]
    assert (removal["concept"], removal["replacement"]) == ("fox", "dog, face")


def test_form_without_a_file_is_rejected(client: TestClient) -> None:
    response = client.post("/v1/batches", files={"model": (None, "tiny")})
    assert (response.status_code, response.json()["code"]) == (422, "malformed_csv")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"concept;colour\nfox;red\n", ["semicolons", '"concept", "colour"']),
        (b"concept|replacement\n", ["commas", '"concept|replacement"']),
        (b"concept;replacement\nfox;a;b\n", ["Row 1", "semicolons", "3 cells", "has 2"]),
        (b"\xff\xfeabc", ["utf-16-le"]),
    ],
)
def test_csv_error_names_separator_and_columns(client: TestClient, content: bytes, parts: list[str]) -> None:
    response = client.post("/v1/batches?model=tiny", content=content, headers=CSV)
    assert (response.status_code, response.json()["code"]) == (422, "malformed_csv")
    assert all(part in response.json()["detail"] for part in parts), response.json()["detail"]


def test_csv_with_invalid_model_is_rejected(client: TestClient) -> None:
    response = client.post("/v1/batches?model=%3A%C2%BF", content=b"concept\nfox\n", headers=CSV)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "model")


@given(st.binary(max_size=200))
def test_any_csv_is_parsed_or_rejected(content: bytes) -> None:
    with suppress(MalformedCsv):
        assert all(removal["concept"] for removal in parse_csv(b"concept\n" + content))


def test_repeated_key_returns_the_same_batch(client: TestClient, database: Database) -> None:
    key = {"Idempotency-Key": "k"}
    body = {"model": "tiny", "removals": [{"concept": "fox"}]}
    first, second = (client.post("/v1/batches", json=body, headers=key) for _ in range(2))
    assert first.json() == second.json()
    assert count(database, Job) == 1
    other = client.post("/v1/batches", json=body | {"seed": 1}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_unsupported_bodies_are_rejected(client: TestClient) -> None:
    response = client.post("/v1/batches", content=b"concept\nfox", headers={"Content-Type": "application/xml"})
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
    deep = client.post("/v1/batches", content=b"[" * 3000, headers={"Content-Type": "application/json"})
    assert (deep.status_code, deep.json()["code"]) == (400, "malformed_json")
