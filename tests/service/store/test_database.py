"""Transactions, schema versions, API keys and ids."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import StatementError

from service.store import api_keys
from service.store.database import Database, sqlite_url
from service.store.errors import StoreUnavailable
from service.store.ids import prefixed_id
from service.store.orm import ApiKey, IdempotencyKey
from tests.fakes.clock import FakeClock
from tests.fakes.postgres import Postgres


def test_failed_transaction_is_rolled_back(database: Database, clock: FakeClock) -> None:
    key = api_keys.generate_api_key()
    with pytest.raises(ZeroDivisionError), database.write() as session:
        _ = api_keys.register(session, key, now=clock()), 1 / 0
    with database.read() as session:
        assert api_keys.authenticate(session, key, now=clock()) is None


def test_writers_that_read_first_are_serialized(tmp_path: Path) -> None:
    """With deferred transactions one of them would fail at once with SQLITE_BUSY_SNAPSHOT."""
    url = sqlite_url(tmp_path / "counter.db")
    with Database(url).write() as session:
        session.execute(text("CREATE TABLE counter (n INTEGER)"))
        session.execute(text("INSERT INTO counter VALUES (0)"))

    def count() -> None:
        database = Database(url)
        for _ in range(20):
            with database.write() as session:
                n = session.scalar(text("SELECT n FROM counter"))
                session.execute(text("UPDATE counter SET n = :n"), {"n": n + 1})

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Database(url).read() as session:
        assert session.scalar(text("SELECT n FROM counter")) == 80


def test_naive_datetimes_are_rejected(database: Database) -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001
    with pytest.raises(StatementError, match="Naive"), database.write() as session:
        session.add(ApiKey(id="x", secret_sha256="x", created_at=naive))


def test_key_is_hashed_and_can_be_revoked(database: Database, clock: FakeClock) -> None:
    key = api_keys.generate_api_key()
    with database.write() as session:
        key_id = api_keys.register(session, key, now=clock())
        api_keys.register(session, key, now=clock())
    with database.write() as session:
        row = session.get_one(ApiKey, key_id)
        assert key.rpartition("_")[2] not in row.secret_sha256
        assert api_keys.authenticate(session, key, now=clock()) is row
        assert api_keys.authenticate(session, key[:-1] + ("A" if key[-1] != "A" else "B"), now=clock()) is None
        assert api_keys.authenticate(session, "nonsense", now=clock()) is None
        row.revoked_at = clock()
        session.flush()
        assert api_keys.authenticate(session, key, now=clock()) is None


def test_ids_sort_by_time() -> None:
    times = [datetime(year, 1, 1, tzinfo=UTC) for year in range(2000, 2030)]
    ids = [prefixed_id("edit", time) for time in times]
    assert ids == sorted(ids)
    assert len({len(one) for one in ids}) == 1


def test_check_leaves_no_row(database: Database) -> None:
    for _ in range(2):
        database.check()
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(IdempotencyKey)) == 0


@pytest.mark.parametrize(("state", "reason"), [("53100", "disk"), ("25006", "read-only")])
def test_server_that_refuses_writes_is_not_ready(postgres: Postgres, state: str, reason: str) -> None:
    """Its disk is full, or it is a standby server. A trigger raises the same error."""
    database = Database(postgres.create())
    database.prepare()
    with database.write() as session:
        body = f"BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END"
        session.execute(text(f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $${body}$$"))
        session.execute(text("CREATE TRIGGER t BEFORE INSERT ON idempotency_keys EXECUTE FUNCTION refuse()"))
    try:
        with pytest.raises(StoreUnavailable, match=reason):
            database.check()
        assert database.revision()
    finally:
        database.close()
