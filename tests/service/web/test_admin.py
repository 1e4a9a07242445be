"""The administration: calibrations and webhooks, through the functions of the API."""

import re

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from service.store.orm import AuditLine, Job, WebhookDelivery, WebhookEndpoint
from tests.contract.conftest import SampleService
from tests.service.web.conftest import SignedIn

URL = "http://receiver.test/hook"


@pytest.fixture
def client(signed_in: SignedIn) -> TestClient:
    return signed_in()


def audit_actions(sample: SampleService) -> list[str]:
    with sample.app_state.database.read() as session:
        return list(session.scalars(select(AuditLine.action).order_by(AuditLine.seq)))


def test_webhook_is_created_and_its_secret_shown_once(sample: SampleService, client: TestClient) -> None:
    sent = {"url": URL, "description": "<b>desk</b>", "events": ["edit.failed"]}
    created = client.post("/admin/webhooks", data=sent).text
    assert created.count("whsec_") == 1
    again = client.get("/admin/webhooks").text
    assert "whsec_" not in again
    assert "<b>desk</b>" not in again
    assert "&lt;b&gt;desk&lt;/b&gt;" in again
    assert audit_actions(sample)[-1] == "webhook.create"


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"url": "https://127.0.0.1/", "events": ["edit.failed"]}, "Url"),
        ({"url": "", "events": ["edit.failed"]}, "Url"),
        ({"url": URL}, "Events"),
        ({"url": URL, "events": ["no.such"]}, "Events"),
    ],
)
def test_wrong_webhook_is_refused_with_the_field(client: TestClient, sent: dict[str, object], message: str) -> None:
    reply = client.post("/admin/webhooks", data=sent)
    assert reply.status_code == 422
    assert f"<p>{message}" in reply.text


def test_message_is_redelivered(sample: SampleService, client: TestClient) -> None:
    endpoint, delivery = sample.owned["endpoint_id"], sample.owned["delivery_id"]
    with sample.app_state.database.write() as session:
        session.get_one(WebhookDelivery, delivery).status = "failed"
    assert client.post(f"/admin/webhooks/{endpoint}/deliveries/{delivery}/redeliver").status_code == 303
    with sample.app_state.database.read() as session:
        assert session.get_one(WebhookDelivery, delivery).status == "pending"
    assert audit_actions(sample)[-1] == "webhook.redeliver"


def test_webhook_is_tested_disabled_and_enabled(sample: SampleService, client: TestClient) -> None:
    path = f"/admin/webhooks/{sample.owned['endpoint_id']}"
    client.post(f"{path}/test")
    assert "endpoint.test" in client.get(path).text
    client.post(f"{path}/state", data={"enabled": "false"})
    assert ">disabled<" in client.get(path).text
    client.post(f"{path}/state", data={"enabled": "true"})
    assert ">active<" in client.get(path).text


def test_webhook_is_deleted(sample: SampleService, client: TestClient) -> None:
    client.post("/admin/webhooks", data={"url": URL, "events": ["edit.failed"]})
    with sample.app_state.database.read() as session:
        newest = select(WebhookEndpoint.id).where(WebhookEndpoint.deleted_at.is_(None)).order_by(WebhookEndpoint.id)
        endpoint = session.scalars(newest).all()[-1]
    assert client.post(f"/admin/webhooks/{endpoint}/delete").headers["location"] == "/admin/webhooks"
    assert client.get(f"/admin/webhooks/{endpoint}").status_code == 404


def test_model_is_calibrated_and_the_calibration_canceled(sample: SampleService, client: TestClient) -> None:
    assert client.post("/admin/models/tiny/calibrate").status_code == 303
    with sample.app_state.database.read() as session:
        job_id = session.scalar(select(func.max(Job.id)).where(Job.kind == "calibration"))
    assert f"/admin/calibrations/{job_id}/cancel" in client.get("/admin/models").text
    client.post(f"/admin/calibrations/{job_id}/cancel")
    with sample.app_state.database.read() as session:
        assert session.get_one(Job, job_id).status == "canceled"


def test_buttons_are_left_out_without_their_scope(sample: SampleService, signed_in: SignedIn) -> None:
    reader = signed_in("one", ("models:read", "webhooks:read", "service:read"))
    for path in (
        "/admin/models",
        "/admin/keys",
        "/admin/operations",
        "/admin/webhooks",
        f"/admin/webhooks/{sample.owned['endpoint_id']}",
    ):
        main = reader.get(path).text.partition("<main")[2]
        assert "<form" not in main, path


def test_sections_follow_the_scopes(signed_in: SignedIn) -> None:
    client = signed_in("one", ("webhooks:read",))
    assert client.get("/admin").headers["location"] == "/admin/webhooks"
    assert "/admin/models" not in client.get("/admin/webhooks").text


def test_key_is_created_shown_once_and_revoked(sample: SampleService, client: TestClient) -> None:
    sent = {"tenant": "desk", "name": "<i>desk</i>", "days": "7", "scopes": ["edits:read"]}
    created = client.post("/admin/keys", data=sent).text
    key = re.findall(r"expunge_([0-9a-f]{12})_[\w-]{43}", created)
    assert len(key) == 1
    again = client.get("/admin/keys").text
    assert "&lt;i&gt;desk&lt;/i&gt;" in again
    assert not re.search(r"expunge_[0-9a-f]{12}_", again)
    assert client.post(f"/admin/keys/{key[0]}/revoke").status_code == 303
    assert audit_actions(sample)[-2:] == ["api_key.create", "api_key.revoke"]


def test_wrong_key_is_refused_and_the_form_kept(client: TestClient) -> None:
    reply = client.post("/admin/keys", data={"tenant": "Desk", "name": "mine", "scopes": ["edits:read"]})
    assert reply.status_code == 422
    assert "<p>Tenant:" in reply.text
    assert 'value="mine"' in reply.text
    assert reply.text.count(" checked") == 1


def test_queue_is_paused_and_resumed(client: TestClient) -> None:
    client.post("/admin/queues/edits/pause")
    page = client.get("/admin/operations").text
    assert ">paused<" in page
    assert "/admin/queues/edits/resume" in page
    client.post("/admin/queues/edits/resume")
    assert ">paused<" not in client.get("/admin/operations").text


def test_failed_job_is_listed_without_its_names_and_retried(sample: SampleService, client: TestClient) -> None:
    page = client.get("/admin/operations").text
    job_id = sample.owned["job_id"]
    assert job_id in page
    assert sample.secrets[0] not in page
    assert client.post(f"/admin/jobs/{job_id}/retry").status_code == 303
    assert audit_actions(sample)[-1] == "job.retry"
