"""What many tests share: a clock, an empty store, and servers that are started once, at the first test that wants one."""

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from service.store.database import Database, sqlite_url
from tests.fakes.clock import FakeClock
from tests.fakes.postgres import Postgres, running_server
from tests.fakes.s3 import S3
from tests.fakes.s3 import running_server as s3_serving

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the cores are taken by the other halves of the tests

LONG = ("tests/e2e/", "tests/kill/", "tests/ui/", "tests/editor/jobs/", "tests/deploy/", "tests/faults/", "tests/load/")
"""Where the files are that take longest. They run first, so that no worker waits at the end for another's long file."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


def pytest_collection_finish() -> None:
    """Leave the modules of all tests out of garbage collections."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_umask() -> Iterator[None]:
    """Undo the umask of commands that a test runs in this process: they create private files only."""
    umask = os.umask(0)
    os.umask(umask)
    yield
    os.umask(umask)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def empty_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with this version's tables. To copy it takes a hundredth of the time of the migrations."""
    path = tmp_path_factory.mktemp("tables") / "expunge.db"
    database = Database(sqlite_url(path))
    database.prepare()
    database.close()
    return path


@pytest.fixture
def database(empty_tables: Path, tmp_path: Path) -> Iterator[Database]:
    database = Database(sqlite_url(shutil.copy(empty_tables, tmp_path)))
    yield database
    database.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server, empty."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """An S3-compatible store, empty."""
    with s3_serving() as server:
        yield server


@pytest.fixture
def bucket(s3: S3, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket, for this process."""
    for name, value in s3.variables.items():
        monkeypatch.setenv(name, value)
    return s3.create(f"bucket-{uuid4().hex}")
