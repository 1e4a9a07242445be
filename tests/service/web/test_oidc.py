"""Sign-in at an OpenID Connect provider of our own."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from joserfc.jwk import ECKey
from sqlalchemy import select

from service.settings import OidcGroup
from service.store.orm import WebSession
from service.web.app import create_site
from service.web.sessions import COOKIE
from tests.contract.conftest import SampleService
from tests.fakes.issuer import CLIENT_ID, CLIENT_SECRET, Issuer, running_issuer
from tests.service.web.conftest import BASE_URL

GROUPS = {
    "desk": OidcGroup(tenant="one", scopes=["edits:read"]),
    "leads": OidcGroup(tenant="one", scopes=["edits:write"]),
    "others": OidcGroup(tenant="two", scopes=["audit:read"]),
}


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer() as issuer:
        issuer.claims = {"groups": ["desk", "leads", "others", "unknown"]}
        yield issuer


@pytest.fixture
def browser(sample: SampleService, issuer: Issuer) -> Iterator[TestClient]:
    changes = {
        "oidc_issuer": issuer.url,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": CLIENT_SECRET,
        "oidc_groups": GROUPS,
    }
    settings = sample.app_state.settings.model_copy(update=changes)
    site = create_site(replace(sample.app_state, settings=settings))
    with TestClient(site, base_url=BASE_URL, follow_redirects=False, raise_server_exceptions=False) as client:
        yield client


def go_to_provider(browser: TestClient, target: str = "/") -> str:
    """Return the address that the provider sends the browser back to."""
    address = browser.get("/sign-in/oidc", params={"next": target}).headers["location"]
    return httpx.get(address).headers["location"]


def test_user_is_signed_in_with_the_groups_tenant_and_scopes(sample: SampleService, browser: TestClient) -> None:
    assert "Sign in with your organisation" in browser.get("/sign-in").text
    reply = browser.get(go_to_provider(browser, "/jobs?status=failed"))
    assert '<meta http-equiv="refresh" content="0; url=/jobs?status=failed">' in reply.text
    assert "quokka" in browser.get("/jobs").text
    with sample.app_state.database.read() as session:
        (row,) = session.scalars(select(WebSession))
    assert (row.api_key_id, row.tenant, row.scopes, row.name) == (None, "one", ["edits:read", "edits:write"], "Ann")
    assert row.user_id.startswith("oidc_")
    browser.post("/sign-out")
    assert browser.get("/jobs").status_code == 303


def test_answer_of_another_browser_is_refused(browser: TestClient) -> None:
    """Login CSRF: the state does not match the handshake of this browser."""
    stolen = go_to_provider(browser)
    go_to_provider(browser)
    reply = browser.get(stolen)
    assert reply.status_code == 401
    assert COOKIE not in browser.cookies
    browser.cookies.clear()
    assert browser.get(stolen).status_code == 401


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"aud": "another"},
        {"exp": int(time.time()) - 3600},
        {"nonce": "replayed"},
        {"groups": []},
        {"groups": "unknown"},
        {"groups": None},
    ],
)
def test_wrong_token_is_refused(browser: TestClient, issuer: Issuer, claims: dict[str, Any]) -> None:
    issuer.claims |= claims
    assert browser.get(go_to_provider(browser)).status_code == 401
    assert COOKIE not in browser.cookies


def test_token_of_another_key_is_refused(browser: TestClient, issuer: Issuer) -> None:
    issuer.signing_key = ECKey.generate_key("P-256", parameters={"kid": "1"})
    assert browser.get(go_to_provider(browser)).status_code == 401


def test_code_counts_once(browser: TestClient) -> None:
    address = go_to_provider(browser)
    handshake = browser.cookies["__Host-expunge-oidc"]
    assert browser.get(address).status_code == 200
    browser.cookies.set("__Host-expunge-oidc", handshake)
    assert browser.get(address).status_code == 401


def test_refusal_and_absence_of_the_provider_are_pages(browser: TestClient, issuer: Issuer) -> None:
    state = go_to_provider(browser).partition("state=")[2]
    denied = browser.get("/sign-in/oidc/callback", params={"error": "access_denied", "state": state})
    assert (denied.status_code, "refused the sign-in" in denied.text) == (401, True)
    issuer.url = "http://127.0.0.1:9"
    assert browser.get("/sign-in/oidc").status_code == 401


def test_service_without_a_provider_has_no_such_page(visitor: TestClient) -> None:
    assert visitor.get("/sign-in/oidc").status_code == 404
    assert "your organisation" not in visitor.get("/sign-in").text
