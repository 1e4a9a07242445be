"""Every route that there is, taken from the application: who has no key, no scope or another tenant's key gets nothing."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from api_schemas.access import SCOPES
from api_schemas.problems import Problem
from service.api.middleware import PUBLIC_PATHS
from service.api.openapi import iter_routes
from service.store.orm import ApiKey, Base
from tests.contract.conftest import ClientOf, World

REMOVAL = {"model": "tiny", "removals": [{"concept": "owl"}]}
BODIES: dict[str, Any] = {
    "/v1/edits": REMOVAL,
    "/v1/edits:validate": REMOVAL,
    "/v1/batches": REMOVAL,
    "/v1/webhook_endpoints": {"url": "https://desk.example/"},
}
"""What a POST needs. A route that needs one and is not named here fails below."""
OWNED = re.compile(r"\{(edit_id|batch_id|endpoint_id|number|repo)")
"""Parameters that name what belongs to a tenant; other paths answer everybody, each with his own."""
OPEN_TO_ALL = {"/v1/models", "/v1/models/{model_id}", "/openapi.json", "/v1/signing_keys", "/metrics"}
"""What tenants share: base models, public keys, the contract itself."""


def operations(world: World) -> Iterator[tuple[str, str]]:
    """Method and path template of everything that the application answers."""

    found = {(method, route.path) for route in iter_routes(world.app) for method in route.methods}
    yield from sorted(one for one in found if one[1] not in PUBLIC_PATHS)


def call(client: TestClient, world: World, method: str, template: str) -> Any:
    path = re.sub(r"\{(\w+)(:path)?\}", lambda part: world.owned[part[1]], template)
    body = {"json": BODIES[template]} if template in BODIES and method == "POST" else {}
    return client.request(method, path, **body)


def rows_of(world: World, tenant: str) -> dict[str, list[Any]]:
    """Everything in the tables that is a tenant's."""
    with world.app_state.database.read() as session:
        return {
            name: [tuple(row) for row in session.execute(select(table).where(table.c.tenant == tenant))]
            for name, table in Base.metadata.tables.items()
            if "tenant" in table.c and name not in ("audit_log", "api_keys")
        }


def test_there_are_routes_to_look_at(world: World) -> None:
    paths = {path for _, path in operations(world)}
    documented = {path for path in world.app.openapi()["paths"] if path not in PUBLIC_PATHS}
    assert documented <= {path.replace(":path}", "}") for path in paths}
    assert len(paths) > 25


def test_nobody_without_a_key_gets_in(world: World) -> None:
    stranger = TestClient(world.app)
    for method, path in operations(world):
        assert call(stranger, world, method, path).status_code == 401, (method, path)


def test_every_route_needs_a_scope(world: World, client_of: ClientOf) -> None:
    nobody = client_of("one", ())
    for method, path in operations(world):
        response = call(nobody, world, method, path)
        assert response.status_code == (200 if path == "/openapi.json" else 403), (method, path)
        if method not in ("HEAD",) and response.status_code == 403:
            assert Problem.model_validate_json(response.content).code == "forbidden"


def test_reading_scopes_change_nothing(world: World, client_of: ClientOf) -> None:
    reader = client_of("one", tuple(scope for scope in SCOPES if scope.endswith(":read")))
    before = rows_of(world, "one")
    for method, path in operations(world):
        response = call(reader, world, method, path)
        assert response.status_code == (403 if method in ("POST", "DELETE") else 200), (method, path)
    assert rows_of(world, "one") == before


def test_the_owner_reaches_everything(world: World, client_of: ClientOf) -> None:
    """Else the next test would prove nothing."""
    owner, order = client_of("one"), ("GET", "HEAD", "POST", "DELETE")
    for method, path in sorted(operations(world), key=lambda one: order.index(one[0])):
        response = call(owner, world, method, path)
        assert response.status_code < 400 or response.status_code == 503, (method, path, response.text)
        if method == "GET" and path not in OPEN_TO_ALL and not OWNED.search(path):
            assert any(secret in response.text for secret in world.secrets), path


def test_another_tenant_sees_and_changes_nothing(world: World, client_of: ClientOf) -> None:
    other, before = client_of("two"), rows_of(world, "one")
    for method, path in operations(world):
        response = call(other, world, method, path)
        leaked = [secret for secret in world.secrets if secret in response.text and secret not in world.owned.values()]
        assert leaked == [], (method, path)
        owned = bool(OWNED.search(path))
        assert (response.status_code == 404) == owned, (method, path, response.text)
        if not owned and method == "GET":
            assert not any(secret in response.text for secret in world.secrets), path
    assert rows_of(world, "one") == before


@pytest.mark.parametrize("seconds", [0, 3600])
def test_a_key_ends_when_it_says(world: World, client_of: ClientOf, seconds: int) -> None:
    client = client_of("one")
    with world.app_state.database.write() as session:
        key_id = re.search(r"expunge_([0-9a-f]{12})", client.headers["Authorization"])
        assert key_id
        key = session.get_one(ApiKey, key_id[1])
        key.expires_at = world.app_state.clock() + timedelta(seconds=seconds)
    assert client.get("/v1/edits").status_code == (200 if seconds else 401)
