"""Response headers, requests from other sites, markup in names, and static files."""

import base64
import hashlib
import re
import tomllib
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from api_schemas.edits import EditRequest, Removal
from service.store import jobs
from service.store.jobs import NewJob
from service.web.assets import STATIC_FOLDER, asset, assets
from tests.contract.conftest import SampleService
from tests.service.web.conftest import SignedIn

MARKUP = "<img src=x onerror=alert(1)>\"'&{{7*7}}"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


@pytest.mark.parametrize("path", ["/jobs", "/sign-in", "/nothing", "/", "/static/0/x.js", "/favicon.ico"])
def test_every_response_has_the_security_headers(signed_in: SignedIn, path: str) -> None:
    headers = signed_in().get(path).headers
    assert headers["content-security-policy"] == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"


def test_failure_has_the_security_headers_and_no_details(signed_in: SignedIn, monkeypatch: pytest.MonkeyPatch) -> None:
    client = signed_in()
    monkeypatch.setattr(jobs, "list_edits", lambda *_, **__: 1 / 0)
    reply = client.get("/jobs")
    assert reply.status_code == 500
    assert reply.headers["content-security-policy"] == POLICY
    assert "division" not in reply.text
    assert reply.headers["request-id"] in reply.text


def test_pages_are_not_cached_and_static_files_are(signed_in: SignedIn) -> None:
    client = signed_in()
    assert client.get("/jobs").headers["cache-control"] == "no-store"
    assert "immutable" in client.get(asset("expunge.css").url).headers["cache-control"]


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://testserver"}, False),
        ({"Origin": "https://testserver"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({}, True),
    ],
)
def test_forms_of_other_sites_are_refused(
    visitor: TestClient, new_key: Callable[..., str], headers: dict[str, str], accepted: bool
) -> None:
    reply = visitor.post("/sign-in", data={"api_key": new_key()}, headers=headers)
    assert reply.status_code == (303 if accepted else 403)
    assert ("set-cookie" in reply.headers) is accepted


def test_whole_page_without_htmx_and_a_fragment_with_it(signed_in: SignedIn) -> None:
    client = signed_in()
    page, fragment = client.get("/jobs"), client.get("/jobs", headers={"HX-Request": "true"})
    assert page.headers["vary"] == fragment.headers["vary"] == "HX-Request"
    assert page.text.startswith("<!doctype html>")
    assert "<html" not in fragment.text
    assert "<h1>Jobs</h1>" in page.text
    assert "<h1>Jobs</h1>" in fragment.text


def test_markup_in_names_is_shown_as_text(sample: SampleService, signed_in: SignedIn) -> None:
    request = EditRequest(model="tiny", removals=[Removal(concept=MARKUP)])
    with sample.app_state.database.write() as session:
        jobs.create(session, NewJob(request, MARKUP, tenant="one"), now=sample.app_state.clock())
    text = signed_in().get("/jobs").text
    assert "<img src=x" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text


def test_pages_have_no_inline_script_or_style(signed_in: SignedIn) -> None:
    """The policy would block them silently."""
    client = signed_in()
    for path in ("/jobs", "/sign-in", "/nothing"):
        text = client.get(path).text
        assert not re.search(
            r"<script(?![^>]* src=)|<style|<[a-z][^>]*(\sstyle=|\son[a-z]+=|javascript:|hx-on|hx-vals='js)", text
        ), path


def test_static_files_are_what_the_page_expects(visitor: TestClient) -> None:
    text = visitor.get("/sign-in").text
    found = re.findall(r'(?:src|href)="(/static/[^"]+)" integrity="sha256-([^"]+)"', text)
    assert len(found) == 3
    for url, integrity in found:
        content = visitor.get(url).content
        assert base64.b64decode(integrity) == hashlib.sha256(content).digest(), url


def test_static_files_are_compressed_for_browsers_that_read_that(visitor: TestClient) -> None:
    url, lengths = asset("htmx.min.js").url, []
    for encoding in ("identity", "gzip, br"):
        reply = visitor.get(url, headers={"Accept-Encoding": encoding})
        assert hashlib.sha256(reply.content).hexdigest() == hashlib.sha256(asset("htmx.min.js").content).hexdigest()
        assert reply.headers["vary"] == "Accept-Encoding"
        lengths.append(int(reply.headers["content-length"]))
    assert lengths[1] < lengths[0] / 2
    assert reply.headers["content-encoding"] == "gzip"


def test_vendored_files_are_as_published(visitor: TestClient) -> None:
    files = tomllib.loads((STATIC_FOLDER / "vendored.toml").read_text())["file"]
    for file in files:
        served = visitor.get(asset(file["name"]).url).content
        assert hashlib.sha256(served).hexdigest() == file["sha256"], file["name"]
        assert file["licence"]
        assert file["source"]
    scripts = {one.name for one in assets().values() if one.name.endswith(".min.js")}
    assert scripts == {file["name"] for file in files}


def test_unknown_static_file_is_not_found(visitor: TestClient) -> None:
    assert visitor.get("/static/../app.py").status_code in (303, 404)
    assert visitor.get("/static/%2e%2e/app.py").status_code in (303, 404)
    assert visitor.get("/static/vendored.toml").status_code == 404
