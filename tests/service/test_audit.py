"""The audit log: every action has a line, lines are immutable, and tampering with the file is detected."""

import sqlite3
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, text, update
from sqlalchemy.exc import IntegrityError

from service.store import audit
from service.store.database import Database
from service.store.orm import AuditLine
from tests.fakes.clock import FakeClock
from tests.service.core.test_edits import BODY


def fill(database: Database, clock: FakeClock, lines: int = 5) -> None:
    for number in range(lines):
        with database.write() as session:
            audit.record(session, f"t{number % 2}", "key", "edit.create", f"edit_{number}", now=clock(), n=number)


def verify(database: Database, expected: tuple[int, str] | None = None) -> audit.ChainCheck:
    with database.read() as session:
        return audit.verify(session, expected)


def test_actions_are_logged_without_concepts(client: TestClient, database: Database) -> None:
    edit = client.post("/v1/edits", json=BODY).json()
    client.post(f"/v1/edits/{edit['id']}/cancel")
    client.post("/v1/webhook_endpoints", json={"url": "https://desk.example/"})
    response = client.get("/v1/audit_log")
    actions = [line["action"] for line in response.json()["data"]]
    assert actions == ["edit.create", "edit.canceled", "edit.cancel", "webhook.create"]
    assert "fox" not in response.text
    assert verify(database).fault is None


def test_digest_of_withheld_names_is_not_logged(client: TestClient) -> None:
    """Anyone who guesses the names could compute it."""
    for withhold in (False, True):
        assert client.post("/v1/edits", json=BODY | {"withhold_names": withhold}).status_code == 202
    logged = [line["details"] for line in client.get("/v1/audit_log").json()["data"]]
    assert sorted("request" in details for details in logged) == [False, True]


def test_rejected_request_is_not_logged(client: TestClient) -> None:
    client.post("/v1/edits", json={"model": "tiny", "removals": []})
    assert client.get("/v1/audit_log").json()["data"] == []


@pytest.mark.parametrize("operation", [update(AuditLine).values(actor="x"), delete(AuditLine)])
def test_database_refuses_to_change_lines(database: Database, clock: FakeClock, operation: object) -> None:
    fill(database, clock)
    with pytest.raises(IntegrityError, match="only ever added to"), database.write() as session:
        session.execute(operation)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("tampering", "line"),
    [
        ("UPDATE audit_log SET target = 'edit_9' WHERE seq = 3", 3),
        ("UPDATE audit_log SET details = '{\"n\": 7}' WHERE seq = 2", 2),
        ("UPDATE audit_log SET at = '2020-01-01 00:00:00.000000' WHERE seq = 5", 5),
        ("DELETE FROM audit_log WHERE seq = 1", 1),
        ("DELETE FROM audit_log WHERE seq = 4", 4),
        ("UPDATE audit_log SET seq = seq + 100 WHERE seq = 2", 2),
    ],
)
def test_tampering_is_detected(database: Database, clock: FakeClock, tmp_path: Path, tampering: str, line: int) -> None:
    """The attacker can write to the file and drops the triggers first."""
    fill(database, clock)
    assert verify(database).fault is None
    with sqlite3.connect(tmp_path / "expunge.db") as raw:
        for trigger in ("audit_log_no_update", "audit_log_no_delete"):
            raw.execute(f"DROP TRIGGER {trigger}")
        raw.execute(tampering)
    fault = verify(database).fault
    assert fault is not None
    assert f"line {line} " in fault


def test_truncated_log_is_detected_with_a_checkpoint(database: Database, clock: FakeClock) -> None:
    fill(database, clock)
    noted = verify(database)
    fill(database, clock, 2)
    assert verify(database, (noted.lines, noted.head)).fault is None
    with database.write() as session:
        session.execute(text("DROP TRIGGER audit_log_no_delete"))
        session.execute(text("DELETE FROM audit_log WHERE seq > 4"))
    assert verify(database).fault is None
    assert "line 5 is missing" in str(verify(database, (noted.lines, noted.head)).fault)
    with database.write() as session:
        audit.record(session, "t0", "key", "edit.create", "another", now=clock())
    assert "does not have the recorded hash" in str(verify(database, (noted.lines, noted.head)).fault)
