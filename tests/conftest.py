"""Servers that many tests share: started once, at the first test that wants one."""

from collections.abc import Iterator

import pytest

from tests.fakes.postgres import Postgres, serving


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server, empty."""
    with serving() as server:
        yield server
