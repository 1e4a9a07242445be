"""The pages in this process, with the sample data of the contract tests."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import delete

from api_schemas.access import SCOPES
from service.store import api_keys
from service.store.orm import WebSession
from service.web.app import create_pages, create_site
from tests.contract.conftest import SampleService, create_cases, make_sample
from tests.fakes.clock import FakeClock

SignedIn = Callable[..., TestClient]
BASE_URL = "https://testserver"


@pytest.fixture(scope="session")
def sample(empty_tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampleService]:
    """One service for all tests of this folder: to create one takes longer than most tests."""
    folder = tmp_path_factory.mktemp("service")
    shutil.copy(empty_tables, folder)
    clock = FakeClock()
    service = make_sample(folder, clock)
    create_cases(service, clock, for_every_route=False)
    yield service
    service.app_state.database.close()


@pytest.fixture(autouse=True)
def _nobody_signed_in(sample: SampleService) -> None:
    with sample.app_state.database.write() as session:
        session.execute(delete(WebSession))


@pytest.fixture(scope="session")
def site(sample: SampleService) -> FastAPI:
    return create_site(sample.app_state)


@pytest.fixture(scope="session")
def pages(sample: SampleService) -> FastAPI:
    """The pages alone, for their table of routes."""
    return create_pages(sample.app_state)


@pytest.fixture
def visitor(site: FastAPI) -> Iterator[TestClient]:
    """A browser that is not signed in."""
    with TestClient(site, base_url=BASE_URL, follow_redirects=False, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def new_key(sample: SampleService) -> Callable[..., str]:
    def create(tenant: str = "one", scopes: tuple[str, ...] = SCOPES) -> str:
        key = api_keys.generate_api_key()
        with sample.app_state.database.write() as session:
            api_keys.register(session, key, now=sample.app_state.clock(), tenant=tenant, scopes=scopes, name=tenant)
        return key

    return create


@pytest.fixture
def signed_in(site: FastAPI, new_key: Callable[..., str]) -> Iterator[SignedIn]:
    """Return browsers that are signed in with a new key of a tenant and some scopes."""
    with ExitStack() as stack:

        def sign_in(tenant: str = "one", scopes: tuple[str, ...] = SCOPES) -> TestClient:
            client = TestClient(site, base_url=BASE_URL, follow_redirects=False, raise_server_exceptions=False)
            stack.enter_context(client)
            reply = client.post("/sign-in", data={"api_key": new_key(tenant, scopes)})
            assert reply.status_code == 303, reply.text
            return client

        yield sign_in
