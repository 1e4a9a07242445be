"""Access control of every route of the application: without a key, without a scope, with another tenant's key."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from api_schemas.access import SCOPES
from api_schemas.problems import Problem
from service.api.example_values import CASE_ID
from service.api.middleware import PUBLIC_PATHS
from service.api.openapi import iter_routes
from service.store.cases_orm import Case
from service.store.orm import ApiKey, Base
from tests.contract.conftest import ClientFactory, SampleService, create_cases
from tests.fakes.clock import FakeClock
from tests.fakes.desk import NOTICE, REFUSE

REMOVAL = {"model": "tiny", "removals": [{"concept": "owl"}]}
BODIES: dict[str, Any] = {
    "/v1/edits": REMOVAL,
    "/v1/edits:validate": REMOVAL,
    "/v1/batches": REMOVAL,
    "/v1/fleets": {"selector": {"models": ["tiny"]}, "removals": [{"concept": "owl"}]},
    "/v1/fleets:plan": {"selector": {"models": ["tiny"]}, "removals": [{"concept": "owl"}]},
    "/v1/models": {"id": "new", "path": "new"},
    "/v1/models/{model_id}": {"labels": ["changed"]},
    "/v1/models/{model_id}/calibrate": {},
    "/v1/models/{model_id}/ledger/rebase": {"onto": "twin"},
    "/v1/edits/{edit_id}/previews": {"prompt": "an owl"},
    "/v1/models/{model_id}/autoencoders/{kind}/previews": {"prompt": "an owl", "latents": [17]},
    "/v1/cases": {"bases": ["policy"], "notice": {"concept": "owl"}},
    "/v1/cases:search": {"name": "zyxommaland"},
    "/v1/cases:decide": {"cases": [{"case": CASE_ID, "version": 1}], "decision": REFUSE},
    "/v1/cases/{case_id}": {"version": 1, "priority": "high"},
    "/v1/cases/{case_id}/notice": {"version": 1, "notice": NOTICE},
    "/v1/cases/{case_id}/claim": {},
    "/v1/cases/{case_id}/decisions": {"version": 1, **REFUSE},
    "/v1/cases/{case_id}/approve": {"version": 1},
    "/v1/cases/{case_id}/undo": {"version": 1},
    "/v1/cases/{case_id}/erase": {"version": 1},
    "/v1/cases/{case_id}/close": {"version": 1, "outcome": "withdrawn"},
    "/v1/cases/{case_id}/complaints": {"version": 1, "explanation": "it is permitted"},
    "/v1/cases/{case_id}/counter_notices": {"version": 1, "explanation": "it is a parody"},
    "/v1/cases/{case_id}/hold": {"version": 1, "reason": "a suit was filed"},
    "/v1/cases/{case_id}/resolve": {"version": 1, "outcome": "rejected", "reason": "it is no parody"},
    "/v1/cases/{case_id}/restore": {"version": 1, "reason": "it was retracted"},
    "/v1/cases/{case_id}/deadlines/{deadline_id}/extend": {
        "version": 1,
        "due_at": "2027-01-01T00:00:00Z",
        "reason": "the notifier agreed",
    },
    "/v1/api_keys": {"tenant": "three"},
    "/v1/webhook_endpoints": {"url": "https://desk.example/"},
    "/v1/webhook_endpoints/{endpoint_id}": {"description": "changed"},
    "/hf/api/models/{namespace}/{repo}/paths-info/{revision}": {"paths": ["report.json"]},
}
"""Bodies of POST and PATCH requests. A route that needs one and is missing here fails below."""
QUERIES = {"/v1/models/{model_id}": {"force": "true"}}
"""Parameters of DELETE requests: the model of the sample is in use."""
ORDER = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE")
"""What is deleted is needed before."""
READ_BY_POST = {"/hf/api/models/{namespace}/{repo}/paths-info/{revision}", "/v1/cases:search"}
OWNED = re.compile(r"\{(edit_id|preview_id|case_id|fleet_id|batch_id|calibration_id|endpoint_id|number|repo)")
"""Path parameters that name a tenant's resources; other paths answer every tenant with its own data."""
OPEN_TO_ALL = {
    "/v1/bases",
    "/v1/reason_templates",
    "/v1/models",
    "/v1/models/{model_id}",
    "/v1/models/{model_id}/autoencoders",
    "/v1/models/{model_id}/autoencoders/{kind}/features",
    "/v1/models/{model_id}/autoencoders/{kind}/features/{latent}",
    "/v1/models/{model_id}/autoencoders/{kind}/images/{name}",
    "/v1/api_keys",
    "/v1/queues",
    "/v1/workers",
    "/hf/api/whoami-v2",
    "/v1/signing_keys",
    "/metrics",
}
"""What tenants share: base models with their features, public keys, the contract itself."""
TENANT_KEY = tuple(scope for scope in SCOPES if not scope.startswith("service:"))
"""The scopes of somebody who does not operate the service."""


@pytest.fixture(autouse=True)
def _cases(request: pytest.FixtureRequest, sample: SampleService, clock: FakeClock) -> None:
    create_cases(sample, clock, for_every_route=request.function is test_owner_can_access_every_route)


def operations(sample: SampleService) -> Iterator[tuple[str, str]]:
    """Yield method and path template of every route."""
    found = {(method, route.path) for route in iter_routes(sample.app) for method in route.methods}
    yield from sorted(
        (one for one in found if one[1] not in PUBLIC_PATHS), key=lambda one: (ORDER.index(one[0]), one[1])
    )


def call(client: TestClient, sample: SampleService, method: str, template: str) -> Any:
    owned = sample.owned | sample.owned_by_route.get(template, {})
    path = re.sub(r"\{(\w+)(:path)?\}", lambda part: owned[part[1]], template)
    body: Any = BODIES.get(template) if method in ("POST", "PATCH", "PUT") else None
    if body and "version" in body:
        body = body | {"version": version_of(sample, owned["case_id"])}
    params = QUERIES.get(template) if method == "DELETE" else None
    return client.request(method, path, params=params, **({} if body is None else {"json": body}))


def version_of(sample: SampleService, case_id: str) -> int:
    """Return the current version of a case."""
    with sample.app_state.database.read() as session:
        return session.get_one(Case, case_id).version


def needs_operator(sample: SampleService, method: str, template: str) -> bool:
    """Return whether a route is for operators, who see all tenants."""
    operation = sample.app.openapi()["paths"].get(template, {}).get(method.lower(), {})
    return str(operation.get("x-scope")).startswith("service:")


def rows_of(sample: SampleService, tenant: str) -> dict[str, list[Any]]:
    """Return all rows of a tenant."""
    with sample.app_state.database.read() as session:
        return {
            name: [tuple(row) for row in session.execute(select(table).where(table.c.tenant == tenant))]
            for name, table in Base.metadata.tables.items()
            if "tenant" in table.c and name not in ("audit_log", "api_keys")
        }


def test_routes_are_found(sample: SampleService) -> None:
    paths = {path for _, path in operations(sample)}
    documented = {path for path in sample.app.openapi()["paths"] if path not in PUBLIC_PATHS}
    assert documented <= {path.replace(":path}", "}") for path in paths}
    assert len(paths) > 25


def test_request_without_a_key_is_rejected(sample: SampleService) -> None:
    stranger = TestClient(sample.app)
    for method, path in operations(sample):
        assert call(stranger, sample, method, path).status_code == 401, (method, path)


def test_every_route_requires_a_scope(sample: SampleService, client_for: ClientFactory) -> None:
    client = client_for("one", ())
    for method, path in operations(sample):
        response = call(client, sample, method, path)
        assert response.status_code == (200 if path == "/openapi.json" else 403), (method, path)
        if method not in ("HEAD",) and response.status_code == 403:
            assert Problem.model_validate_json(response.content).code == "forbidden"


def test_read_scopes_do_not_allow_writes(sample: SampleService, client_for: ClientFactory) -> None:
    reader = client_for("one", tuple(scope for scope in SCOPES if scope.endswith(":read")))
    before = rows_of(sample, "one")
    for method, path in operations(sample):
        response = call(reader, sample, method, path)
        writes = method in ("POST", "PATCH", "PUT", "DELETE") and path not in READ_BY_POST
        assert response.status_code == (403 if writes else 200), (method, path)
    assert rows_of(sample, "one") == before


def test_owner_can_access_every_route(sample: SampleService, client_for: ClientFactory) -> None:
    """Without this, the next test would prove nothing."""
    owner = client_for("one")
    for method, path in operations(sample):
        response = call(owner, sample, method, path)
        assert response.status_code < 400 or response.status_code == 503, (method, path, response.text)
        if method == "GET" and path not in OPEN_TO_ALL and not OWNED.search(path):
            assert any(secret in response.text for secret in sample.secrets), path


def test_other_tenant_cannot_read_or_write(sample: SampleService, client_for: ClientFactory) -> None:
    other, before = client_for("two", TENANT_KEY), rows_of(sample, "one")
    for method, path in operations(sample):
        response = call(other, sample, method, path)
        if needs_operator(sample, method, path):
            assert response.status_code == 403, (method, path)
            continue
        leaked = [
            secret for secret in sample.secrets if secret in response.text and secret not in sample.owned.values()
        ]
        assert leaked == [], (method, path)
        owned = bool(OWNED.search(path))
        assert (response.status_code == 404) == owned, (method, path, response.text)
        if not owned and method == "GET":
            assert not any(secret in response.text for secret in sample.secrets), path
    assert rows_of(sample, "one") == before


@pytest.mark.parametrize("seconds", [0, 3600])
def test_key_expires(sample: SampleService, client_for: ClientFactory, seconds: int) -> None:
    client = client_for("one")
    with sample.app_state.database.write() as session:
        key_id = re.search(r"expunge_([0-9a-f]{12})", client.headers["Authorization"])
        assert key_id
        key = session.get_one(ApiKey, key_id[1])
        key.expires_at = sample.app_state.clock() + timedelta(seconds=seconds)
    assert client.get("/v1/edits").status_code == (200 if seconds else 401)
