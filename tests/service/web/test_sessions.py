"""Sign-in, sign-out, and when a session ends."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from service.store import api_keys
from service.store.orm import WebSession
from service.web.sessions import COOKIE, local_path
from tests.contract.conftest import SampleService
from tests.service.web.conftest import SignedIn


def is_signed_in(client: TestClient) -> bool:
    return client.get("/jobs").status_code == 200


def stored_sessions(sample: SampleService) -> list[WebSession]:
    with sample.app_state.database.read() as session:
        return list(session.scalars(select(WebSession)))


def test_cookie_is_for_this_host_and_hidden_from_scripts(visitor: TestClient, new_key: Callable[..., str]) -> None:
    cookie = visitor.post("/sign-in", data={"api_key": new_key()}).headers["set-cookie"]
    assert cookie.startswith("__Host-expunge=")
    assert {part.strip() for part in cookie.split(";")[1:]} == {"HttpOnly", "Path=/", "SameSite=strict", "Secure"}


def test_session_id_is_random_and_stored_as_a_hash(sample: SampleService, signed_in: SignedIn) -> None:
    ids = {str(signed_in().cookies[COOKIE]) for _ in range(2)}
    assert len(ids) == 2
    assert all(len(one) == 43 for one in ids)  # 256 bits in base64url
    stored = repr([vars(row) for row in stored_sessions(sample)])
    assert not any(one in stored for one in ids)


def test_sign_in_does_not_adopt_an_id_that_the_browser_had(
    sample: SampleService, visitor: TestClient, new_key: Callable[..., str]
) -> None:
    """An attacker who plants a cookie must not know the id of the session (fixation)."""
    planted = "A" * 43
    visitor.cookies.set(COOKIE, planted)
    reply = visitor.post("/sign-in", data={"api_key": new_key()})
    assert planted not in reply.headers["set-cookie"]


def test_sign_in_ends_the_earlier_session(
    sample: SampleService, signed_in: SignedIn, new_key: Callable[..., str]
) -> None:
    client = signed_in()
    earlier = client.cookies[COOKIE]
    client.post("/sign-in", data={"api_key": new_key("two")})
    assert len(stored_sessions(sample)) == 1
    client.cookies.clear()
    client.cookies.set(COOKIE, earlier)
    assert not is_signed_in(client)


def test_sign_out_ends_the_session_in_the_store(sample: SampleService, signed_in: SignedIn) -> None:
    client = signed_in()
    cookie = client.cookies[COOKIE]
    assert client.post("/sign-out").status_code == 303
    client.cookies.set(COOKIE, cookie)
    assert not is_signed_in(client)
    assert stored_sessions(sample) == []


@pytest.mark.parametrize(("seconds", "valid"), [(3599, True), (3600, False)])
def test_idle_session_ends(sample: SampleService, signed_in: SignedIn, seconds: float, valid: bool) -> None:
    client = signed_in()
    sample.app_state.clock.advance(seconds)  # type: ignore[attr-defined]
    assert is_signed_in(client) is valid


def test_used_session_ends_at_its_limit(sample: SampleService, signed_in: SignedIn) -> None:
    client, seconds = signed_in(), sample.app_state.settings.session_seconds
    for _ in range(int(seconds // 1800) - 1):
        sample.app_state.clock.advance(1800)  # type: ignore[attr-defined]
        assert is_signed_in(client)
    sample.app_state.clock.advance(1800)  # type: ignore[attr-defined]
    assert not is_signed_in(client)


def test_session_ends_with_its_key(sample: SampleService, visitor: TestClient, new_key: Callable[..., str]) -> None:
    key = new_key()
    visitor.post("/sign-in", data={"api_key": key})
    assert is_signed_in(visitor)
    with sample.app_state.database.write() as session:
        api_keys.revoke(session, key.split("_")[1], now=sample.app_state.clock())
    assert not is_signed_in(visitor)


def test_ended_sessions_are_deleted_at_the_next_sign_in(sample: SampleService, signed_in: SignedIn) -> None:
    signed_in()
    sample.app_state.clock.advance(4000)  # type: ignore[attr-defined]
    signed_in()
    assert len(stored_sessions(sample)) == 1


@pytest.mark.parametrize("key", ["", "wrong", "expunge_000000000000_" + "A" * 43, "x" * 200])
def test_wrong_key_is_refused(visitor: TestClient, key: str) -> None:
    reply = visitor.post("/sign-in", data={"api_key": key})
    assert reply.status_code == 401
    assert "not known" in reply.text
    assert "set-cookie" not in reply.headers
    assert key not in reply.text or not key


def test_sign_in_continues_where_it_was_wanted(visitor: TestClient, new_key: Callable[..., str]) -> None:
    wanted = visitor.get("/jobs?status=failed").headers["location"]
    assert wanted == "/sign-in?next=%2Fjobs%3Fstatus%3Dfailed"
    assert 'name="next" value="/jobs?status=failed"' in visitor.get(wanted).text
    reply = visitor.post("/sign-in", data={"api_key": new_key(), "next": "/jobs?status=failed"})
    assert reply.headers["location"] == "/jobs?status=failed"


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "", "/\n/x", "jobs"]
)
def test_sign_in_never_leads_elsewhere(target: str) -> None:
    assert local_path(target) == "/"


def test_link_from_another_site_is_opened_once_more(visitor: TestClient) -> None:
    """The strict cookie is absent then; the page repeats the request from our own site."""
    reply = visitor.get("/jobs?status=failed", headers={"Sec-Fetch-Site": "cross-site"})
    assert '<meta http-equiv="refresh" content="0; url=/jobs?status=failed">' in reply.text


def test_htmx_is_sent_to_sign_in_as_a_page(visitor: TestClient) -> None:
    reply = visitor.get("/jobs", headers={"HX-Request": "true"})
    assert (reply.status_code, reply.headers["hx-redirect"]) == (401, "/sign-in")
