"""End-to-end tests of dry runs, ledgers, batches, webhooks and cancellation over real processes."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from tests.fakes.stack import Stack, running_stack, wait_until


class Receiver(ThreadingHTTPServer):
    """Records messages and answers the first one with an error."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", 0), Answer)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append((dict(self.headers), body))
        self.send_response(503 if len(self.server.seen) == 1 else 204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Stack]:
    more = {"EXPUNGE_QUICK_WORKER": "true", "EXPUNGE_WEBHOOK_ALLOWED_HOSTS": json.dumps([receiver.host])}
    with running_stack(tmp_path_factory.mktemp("contract") / "data", **more) as stack:
        yield stack


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, headers=stack.authorization, timeout=60) as http:
        yield http


def body(concept: str, **more: Any) -> dict[str, Any]:
    return {"model": "tiny", "removals": [{"concept": concept}], **more}


def test_dry_run_does_not_wait_for_edits(stack: Stack, http: httpx.Client) -> None:
    busy = stack.submit(slow="60")
    stack.wait_for_phase(busy, "trace")
    response = http.post("/v1/edits:validate", json=body("fox"))
    assert (response.status_code, response.json()["object"]) == (200, "plan")
    assert response.json()["estimate"]["images"] == 8
    assert next(stack.client.edits.list(limit=1)).id == busy.id
    refused = http.post("/v1/edits:validate", json=body("fox", metadata={"refuse": "plan"}))
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/removals/0/concept")
    stack.client.edits.cancel(busy.id)
    wait_until(lambda: stack.client.edits.get(busy.id).status == "canceled", 10)


def test_prefer_wait_returns_the_finished_edit(http: httpx.Client) -> None:
    response = http.post("/v1/edits", json=body("fox"), headers={"Prefer": "wait=30"})
    assert (response.status_code, response.json()["status"]) == (200, "succeeded")
    assert response.headers["Preference-Applied"] == "wait=30"


def test_ledger_is_served_over_http(http: httpx.Client) -> None:
    wait = {"Prefer": "wait=30"}
    fox = http.post("/v1/edits", json=body("fox", ledger=True), headers=wait).json()
    batch = http.post("/v1/batches?model=tiny", content=b"concept\nowl\nfox\n", headers={"Content-Type": "text/csv"})
    edit_id = batch.json()["edit"]["id"]
    wait_until(lambda: http.get(f"/v1/edits/{edit_id}").json()["status"] == "succeeded")
    items = http.get(batch.json()["items_url"]).json()["data"]
    assert [(item["concept"], item["status"]) for item in items] == [("owl", "removed"), ("fox", "removed")]
    gone = http.post(f"/v1/edits/{edit_id}/revoke", headers=wait).json()
    assert (gone["kind"], gone["status"], gone["revokes"]) == ("revocation", "succeeded", edit_id)
    ledger = http.get("/v1/models/tiny/ledger").json()
    assert (ledger["revision"], [entry["edit"] for entry in ledger["removals"]]) == (3, [fox["id"]])
    revisions = http.get("/v1/models/tiny/revisions").json()["data"]
    assert [revision["active"] for revision in revisions] == [1, 2, 1]
    assert revisions[0]["digest"] == revisions[2]["digest"] == ledger["digest"]
    clash = http.post(
        "/v1/edits", json=body("cat", ledger=True) | {"removals": [{"concept": "cat", "replacement": "fox"}]}
    )
    assert (clash.status_code, clash.json()["conflicts"][0]["kind"]) == (409, "replacement_removed")


def test_failed_webhook_is_retried(http: httpx.Client, receiver: Receiver) -> None:
    made = http.post("/v1/webhook_endpoints", json={"url": f"http://{receiver.host}/hook"}).json()
    edit = http.post("/v1/edits", json=body("fox"), headers={"Prefer": "wait=30"}).json()
    wait_until(lambda: len(receiver.seen) == 2, 20)
    (first, content), (second, again) = receiver.seen
    assert (first["webhook-id"], content) == (second["webhook-id"], again)
    message = Webhook(made["secret"]).verify(again, {name.lower(): value for name, value in second.items()})
    assert (message["type"], message["data"]["id"]) == ("edit.succeeded", edit["id"])
    wait_until(
        lambda: http.get(f"/v1/webhook_endpoints/{made['id']}/deliveries").json()["data"][0]["status"] != "pending"
    )
    (delivery,) = http.get(f"/v1/webhook_endpoints/{made['id']}/deliveries").json()["data"]
    assert [attempt["status_code"] for attempt in delivery["attempts"]] == [503, 204]


@pytest.mark.parametrize("phase", ["trace", "edit", "validate", "publish"])
def test_cancellation_takes_less_than_ten_seconds_in_every_phase(stack: Stack, http: httpx.Client, phase: str) -> None:
    edit = stack.submit(slow="60", slow_in=phase)
    stack.wait_for_phase(edit, phase)
    asked = time.monotonic()
    assert http.post(f"/v1/edits/{edit.id}/cancel").status_code == 202
    wait_until(lambda: stack.client.edits.get(edit.id).status == "canceled", 10)
    assert time.monotonic() - asked < 10
    done = httpx.get(f"{stack.url}{edit.urls.stream}", headers=stack.authorization | {"Last-Event-ID": "1000"})
    assert done.status_code == 204
