"""Webhook messages and deliveries: retry schedule, misbehaving receivers, crashes."""

import errno
import json
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest
from fastapi.testclient import TestClient

from api_schemas.edits import EditRequest, Removal
from api_schemas.webhooks import WebhookMessage, WebhookTestMessage
from service.core.app_state import AppState
from service.store import jobs, retention, webhooks
from service.store.encryption import SecretBox, generate_encryption_key
from service.store.errors import SecretsKeyError
from service.store.jobs import NewJob
from service.store.orm import WebhookEndpoint
from service.store.settings import StoreSettings
from service.store.webhooks import RETRY_DELAYS, retry_delay
from service.webhooks.delivery_loop import Deliverer
from service.webhooks.signing import WebhookSigner
from tests.fakes.clock import FakeClock

Answer = Callable[[httpx.Request], httpx.Response]
URL = "https://desk.example/hook"


def response_of(status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> httpx.Response:
    """Return a response that is not read yet, as from a connection."""
    return httpx.Response(status, headers=headers, content=iter([content]))


def deliverer(app_state: AppState, answer: Answer) -> Deliverer:
    return Deliverer(app_state.database, httpx.MockTransport(answer), app_state.settings.secret_box, app_state.clock)


def add_endpoint(client: TestClient, *events: str) -> str:
    body = {"url": URL} | ({"events": list(events)} if events else {})
    return str(client.post("/v1/webhook_endpoints", json=body).json()["id"])


def cancel_job(app_state: AppState) -> str:
    with app_state.database.write() as session:
        job = jobs.create(
            session, NewJob(EditRequest(model="tiny", removals=[Removal(concept="fox")]), "k"), now=app_state.clock()
        )
        jobs.cancel(session, job.id, now=app_state.clock())
    return job.id


def due_messages(app_state: AppState) -> list[str]:
    with app_state.database.read() as session:
        return list(webhooks.due_deliveries(session, now=app_state.clock()))


def delivery_log(client: TestClient, endpoint: str) -> list[dict[str, object]]:
    data: list[dict[str, object]] = client.get(f"/v1/webhook_endpoints/{endpoint}/deliveries").json()["data"]
    return data


def test_message_has_status_but_no_concepts(app_state: AppState, client: TestClient) -> None:
    add_endpoint(client)
    edit_id, seen = cancel_job(app_state), list[httpx.Request]()
    for message in due_messages(app_state):
        deliverer(app_state, lambda request: seen.append(request) or response_of(204)).deliver(message)  # type: ignore[func-returns-value]
    (request,) = seen
    told = WebhookMessage.model_validate_json(request.content)
    assert (told.type, told.data.id, told.data.status) == ("edit.canceled", edit_id, "canceled")
    assert b"fox" not in request.content
    assert due_messages(app_state) == []


def test_only_subscribed_events_are_sent(app_state: AppState, client: TestClient) -> None:
    all_of_them, ends = add_endpoint(client, "edit.queued", "edit.canceled"), add_endpoint(client)
    cancel_job(app_state)
    assert {str(one["type"]) for one in delivery_log(client, all_of_them)} == {"edit.canceled", "edit.queued"}
    assert [one["type"] for one in delivery_log(client, ends)] == ["edit.canceled"]


def test_attempts_follow_the_retry_schedule(app_state: AppState, client: TestClient, clock: FakeClock) -> None:
    endpoint = add_endpoint(client)
    cancel_job(app_state)
    (message,) = due_messages(app_state)
    failing = deliverer(app_state, lambda request: response_of(500, content=b"x" * 9000))
    for pause in RETRY_DELAYS:
        failing.deliver(message)
        clock.advance(pause.total_seconds() - 1)
        assert due_messages(app_state) == []
        clock.advance(1 + pause.total_seconds() * 0.1)
        assert due_messages(app_state) == [message]
    failing.deliver(message)
    assert due_messages(app_state) == []
    (delivery,) = delivery_log(client, endpoint)
    assert delivery["status"] == "failed"
    assert isinstance(delivery["attempts"], list)
    assert len(delivery["attempts"]) == len(RETRY_DELAYS) + 1
    assert len(delivery["attempts"][0]["reply"]) == 2048


def test_retry_schedule_matches_the_specification() -> None:
    assert [pause.total_seconds() for pause in RETRY_DELAYS] == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
    spread = {retry_delay(1, f"msg_{i}") for i in range(50)}
    assert len(spread) > 10
    assert all(timedelta(seconds=5) <= pause <= timedelta(seconds=5.5) for pause in spread if pause)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 500, 503])
def test_only_2xx_counts_as_delivered(app_state: AppState, client: TestClient, status: int) -> None:
    add_endpoint(client)
    cancel_job(app_state)
    (message,) = due_messages(app_state)
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return response_of(status, headers={"Location": "https://other.example/"})

    deliverer(app_state, answer).deliver(message)
    assert asked == [URL]
    assert due_messages(app_state) == []


def test_retry_after_is_respected(app_state: AppState, client: TestClient, clock: FakeClock) -> None:
    add_endpoint(client)
    cancel_job(app_state)
    (message,) = due_messages(app_state)
    deliverer(app_state, lambda request: response_of(429, headers={"Retry-After": "600"})).deliver(message)
    clock.advance(599)
    assert due_messages(app_state) == []
    clock.advance(1)
    assert due_messages(app_state) == [message]


def test_gone_disables_the_endpoint(app_state: AppState, client: TestClient) -> None:
    endpoint = add_endpoint(client, "edit.queued", "edit.canceled")
    cancel_job(app_state)
    deliverer(app_state, lambda request: response_of(410)).deliver(due_messages(app_state)[0])
    assert due_messages(app_state) == []
    assert client.get(f"/v1/webhook_endpoints/{endpoint}").json()["disabled_at"] is not None
    cancel_job(app_state)
    assert due_messages(app_state) == []


def test_connection_error_reveals_no_network_details(app_state: AppState, client: TestClient) -> None:
    endpoint = add_endpoint(client)
    cancel_job(app_state)

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("10.0.0.7 refused")

    deliverer(app_state, refuse).deliver(due_messages(app_state)[0])
    (delivery,) = delivery_log(client, endpoint)
    assert isinstance(delivery["attempts"], list)
    assert delivery["attempts"][0]["error"] == "ConnectError"
    assert "10.0.0.7" not in json.dumps(delivery)


def test_concurrent_deliverers_make_one_attempt(app_state: AppState, client: TestClient) -> None:
    add_endpoint(client)
    cancel_job(app_state)
    (message,) = due_messages(app_state)
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        deliverer(app_state, answer).deliver(message)
        return response_of(204)

    deliverer(app_state, answer).deliver(message)
    assert len(seen) == 1


def test_crashed_delivery_is_retried(app_state: AppState, client: TestClient, clock: FakeClock) -> None:
    add_endpoint(client)
    cancel_job(app_state)
    (message,) = due_messages(app_state)

    def die(request: httpx.Request) -> httpx.Response:
        raise SystemExit

    with pytest.raises(SystemExit):
        deliverer(app_state, die).deliver(message)
    assert due_messages(app_state) == []
    clock.advance(60)
    assert due_messages(app_state) == [message]


def test_redelivery_keeps_the_message_id(app_state: AppState, client: TestClient) -> None:
    endpoint = add_endpoint(client)
    cancel_job(app_state)
    ids: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        ids.append(request.headers["webhook-id"])
        return response_of(200)

    deliverer(app_state, answer).deliver(due_messages(app_state)[0])
    again = client.post(f"/v1/webhook_endpoints/{endpoint}/deliveries/{ids[0]}/redeliver")
    assert (again.status_code, again.json()["status"]) == (202, "pending")
    deliverer(app_state, answer).deliver(due_messages(app_state)[0])
    assert ids[0] == ids[1]


def test_deleted_endpoint_receives_nothing(app_state: AppState, client: TestClient) -> None:
    endpoint = add_endpoint(client)
    cancel_job(app_state)
    assert client.delete(f"/v1/webhook_endpoints/{endpoint}").status_code == 204
    assert due_messages(app_state) == []
    assert client.get("/v1/webhook_endpoints").json()["data"] == []


def test_secret_is_returned_once(client: TestClient) -> None:
    made = client.post("/v1/webhook_endpoints", json={"url": URL}).json()
    assert made["secret"].startswith("whsec_")
    assert "secret" in made
    assert client.get(f"/v1/webhook_endpoints/{made['id']}").json() == made | {"secret": None}


def test_endpoints_of_a_tenant_are_limited(app_state: AppState, client: TestClient) -> None:
    object.__setattr__(app_state, "settings", app_state.settings.model_copy(update={"max_webhook_endpoints": 2}))
    responses = [client.post("/v1/webhook_endpoints", json={"url": URL}) for _ in range(3)]
    assert [response.status_code for response in responses] == [201, 201, 409]
    assert responses[2].json()["code"] == "too_many_webhook_endpoints"
    client.delete(f"/v1/webhook_endpoints/{responses[0].json()['id']}")
    assert client.post("/v1/webhook_endpoints", json={"url": URL}).status_code == 201


def test_internal_receiver_is_rejected(client: TestClient) -> None:
    response = client.post("/v1/webhook_endpoints", json={"url": "https://127.0.0.1/"})
    assert (response.status_code, response.json()["code"]) == (422, "webhook_refused")


def test_secrets_are_encrypted_at_rest(app_state: AppState, client: TestClient) -> None:
    made = client.post("/v1/webhook_endpoints", json={"url": URL}).json()
    with app_state.database.read() as session:
        row = session.get_one(WebhookEndpoint, made["id"])
    told = WebhookSigner.from_row(row, app_state.settings.secret_box())
    assert (told.secret, told.public_key) == (made["secret"], made["public_key"])
    on_disk = b"".join(path.read_bytes() for path in app_state.settings.data_dir.glob("expunge.db*"))
    assert row.id.encode() in on_disk
    assert not any(secret.encode() in on_disk for secret in (told.secret, told.private_key))


def test_missing_key_delays_deliveries(app_state: AppState, client: TestClient, clock: FakeClock) -> None:
    add_endpoint(client)
    cancel_job(app_state)
    (message,) = due_messages(app_state)
    keys = app_state.settings.secrets_file
    away = keys.rename(keys.with_suffix(".away"))
    keys.write_text(generate_encryption_key())
    with pytest.raises(SecretsKeyError):
        deliverer(app_state, lambda request: response_of(204)).deliver(message)
    away.rename(keys)
    clock.advance(60)
    deliverer(app_state, lambda request: response_of(204)).deliver(message)
    assert due_messages(app_state) == []


def test_endpoint_is_not_created_without_an_encryption_key(
    app_state: AppState, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoreSettings, "secret_box", lambda self: SecretBox(()))
    response = client.post("/v1/webhook_endpoints", json={"url": URL})
    assert (response.status_code, response.json()["code"]) == (503, "secrets_unavailable")
    assert client.get("/v1/webhook_endpoints").json()["data"] == []


def test_full_disk_prevents_the_first_endpoint_and_is_named(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("service.store.encryption.os.fsync", no_space)
    response = client.post("/v1/webhook_endpoints", json={"url": URL})
    assert (response.status_code, response.json()["code"]) == (503, "secrets_unavailable")
    assert "No space left on device" in response.json()["detail"]


def test_endpoint_can_be_changed(app_state: AppState, client: TestClient) -> None:
    path = f"/v1/webhook_endpoints/{add_endpoint(client)}"
    before = client.get(path).json()
    changes = {"url": "https://other.example/hook", "events": ["edit.failed"], "description": "night desk"}
    assert client.patch(path, json=changes).json() == before | changes
    assert client.patch(path, json={}).json() == client.get(path).json() == before | changes
    refused = client.patch(path, json={"url": "https://localhost/"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "url")
    assert client.patch(path, json={"events": []}).status_code == 422
    assert client.get(path).json() == before | changes


def test_pending_message_is_sent_to_the_new_url(app_state: AppState, client: TestClient) -> None:
    endpoint, asked = add_endpoint(client), list[str]()
    cancel_job(app_state)
    client.patch(f"/v1/webhook_endpoints/{endpoint}", json={"url": "https://other.example/hook"})

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return response_of(204)

    deliverer(app_state, answer).deliver(due_messages(app_state)[0])
    assert asked == ["https://other.example/hook"]


def test_endpoint_that_was_gone_is_enabled_again(app_state: AppState, client: TestClient) -> None:
    path = f"/v1/webhook_endpoints/{add_endpoint(client)}"
    cancel_job(app_state)
    deliverer(app_state, lambda request: response_of(410)).deliver(due_messages(app_state)[0])
    assert client.get(path).json()["disabled_at"]
    cancel_job(app_state)
    assert due_messages(app_state) == []
    assert client.patch(path, json={"enabled": True}).json()["disabled_at"] is None
    cancel_job(app_state)
    assert len(due_messages(app_state)) == 1
    assert client.patch(path, json={"enabled": False}).json()["disabled_at"]
    assert due_messages(app_state) == []


def test_test_message_is_signed_and_sent_once(app_state: AppState, client: TestClient, clock: FakeClock) -> None:
    endpoint = add_endpoint(client)
    client.patch(f"/v1/webhook_endpoints/{endpoint}", json={"enabled": False})
    created = client.post(f"/v1/webhook_endpoints/{endpoint}/test")
    assert created.status_code == 202
    assert (created.json()["type"], created.json()["edit"]) == ("endpoint.test", None)
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return response_of(500)

    deliverer(app_state, answer).deliver(due_messages(app_state)[0])
    clock.advance(1000)
    assert due_messages(app_state) == []
    message = WebhookTestMessage.model_validate_json(seen[0].content)
    assert (message.data.id, seen[0].headers["webhook-id"]) == (endpoint, created.json()["id"])
    assert seen[0].headers["webhook-signature"].startswith("v1,")
    (delivery,) = delivery_log(client, endpoint)
    assert (delivery["status"], delivery["attempts"][0]["status_code"]) == ("failed", 500)  # type: ignore[index]


def test_test_messages_are_deleted_with_old_jobs(app_state: AppState, client: TestClient, clock: FakeClock) -> None:
    endpoint = add_endpoint(client)
    client.post(f"/v1/webhook_endpoints/{endpoint}/test")
    with app_state.database.write() as session:
        retention.delete_old_jobs(session, before=clock())
    assert len(delivery_log(client, endpoint)) == 1
    with app_state.database.write() as session:
        retention.delete_old_jobs(session, before=clock() + timedelta(seconds=1))
    assert delivery_log(client, endpoint) == []
