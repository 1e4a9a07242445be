"""Access control of every page: without a session, without a scope, with another tenant's session."""

import re
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api_schemas.access import SCOPES
from service.api.openapi import iter_routes
from service.web.assets import STATIC_ROOT, assets
from service.web.navigation import ENTRIES
from service.web.sessions import PUBLIC_PAGES
from tests.contract.conftest import SampleService
from tests.service.web.conftest import SignedIn

OWNED = re.compile(r"\{(edit_id|preview_id|case_id|fleet_id|batch_id|calibration_id|endpoint_id|delivery_id|number)")
"""Path parameters that name a tenant's resources."""
FOR_OPERATORS = {"/admin/keys", "/admin/operations"}
"""Pages about all tenants."""
TENANT_KEY = tuple(scope for scope in SCOPES if not scope.startswith("service:"))


def page_routes(pages: FastAPI) -> list[tuple[str, str]]:
    """Return method and path template of every page that needs a session."""
    found = {(method, route.path) for route in iter_routes(pages) for method in route.methods}
    return sorted(one for one in found if one[1] not in PUBLIC_PAGES and not one[1].startswith(STATIC_ROOT))


def open_page(client: TestClient, sample: SampleService, method: str, template: str) -> Any:
    owned = sample.owned | sample.owned_by_route.get(f"/v1{template}", {})
    path = re.sub(r"\{(\w+)(:path)?\}", lambda part: owned[part[1]], template)
    return client.request(method, path)


def test_page_without_a_session_leads_to_sign_in(pages: FastAPI, sample: SampleService, visitor: TestClient) -> None:
    for method, path in page_routes(pages):
        reply = open_page(visitor, sample, method, path)
        assert reply.status_code == 303, (method, path)
        assert reply.headers["location"].startswith("/sign-in"), (method, path)


def test_api_key_is_no_session(pages: FastAPI, sample: SampleService, visitor: TestClient, new_key: Any) -> None:
    visitor.headers["Authorization"] = f"Bearer {new_key()}"
    for method, path in page_routes(pages):
        assert open_page(visitor, sample, method, path).status_code == 303, (method, path)


def test_session_does_not_open_the_api(signed_in: SignedIn) -> None:
    assert signed_in().get("/v1/edits").status_code == 401


def test_every_page_requires_a_scope(pages: FastAPI, sample: SampleService, signed_in: SignedIn) -> None:
    client = signed_in("one", ())
    for method, path in page_routes(pages):
        reply = open_page(client, sample, method, path)
        assert reply.status_code == 403, (method, path)
        assert "<h1>The API key does not allow this</h1>" in reply.text


def test_read_scopes_do_not_allow_writes(pages: FastAPI, sample: SampleService, signed_in: SignedIn) -> None:
    client = signed_in("one", tuple(scope for scope in SCOPES if scope.endswith(":read")))
    for method, path in page_routes(pages):
        if method == "POST":
            assert open_page(client, sample, method, path).status_code == 403, path


def test_other_tenant_sees_nothing(pages: FastAPI, sample: SampleService, signed_in: SignedIn) -> None:
    owner, other = signed_in("one"), signed_in("two", TENANT_KEY)
    for method, path in page_routes(pages):
        if method != "GET":
            continue
        assert open_page(owner, sample, method, path).status_code < 400, path
        reply = open_page(other, sample, method, path)
        if path in FOR_OPERATORS:
            assert reply.status_code == 403, path
            continue
        asked_for = set(sample.owned.values())
        assert [secret for secret in sample.secrets if secret in reply.text and secret not in asked_for] == [], path
        if OWNED.search(path):
            assert reply.status_code == 404, path


def test_other_tenant_changes_nothing(pages: FastAPI, sample: SampleService, signed_in: SignedIn) -> None:
    other = signed_in("two")
    for method, path in page_routes(pages):
        if method == "POST" and OWNED.search(path):
            assert open_page(other, sample, method, path).status_code == 404, path


@pytest.mark.parametrize("path", ["/v1/edits", "/healthz", "/docs", "/hf/api/whoami-v2", "/v1/nothing"])
def test_api_routes_are_not_pages(visitor: TestClient, path: str) -> None:
    reply = visitor.get(path)
    assert reply.status_code in (200, 401)
    assert "Content-Security-Policy" not in reply.headers or path == "/docs"


def test_navigation_shows_what_the_scopes_open(signed_in: SignedIn) -> None:
    def labels(client: TestClient, path: str) -> list[str]:
        navigation = re.search(r'<nav class="site-nav".*?</nav>', client.get(path).text, re.DOTALL)
        return re.findall(r">([^<>\n]+)</a>", navigation[0]) if navigation else []

    assert "Jobs" in labels(signed_in(), "/jobs")
    assert labels(signed_in("one", ("edits:read",)), "/jobs") == ["Jobs", "Fleets"]
    assert labels(signed_in("one", ()), "/jobs") == []


def test_every_entry_has_a_path_of_its_own(pages: FastAPI) -> None:
    assert len({entry.path for entry in ENTRIES}) == len(ENTRIES)
    assert all(url.startswith(STATIC_ROOT) for url in assets())
