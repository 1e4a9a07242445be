"""SSRF: every way to make the service call internal addresses is rejected."""

from collections.abc import Sequence

import httpx
import pytest

from service.errors import WebhookRefused
from service.webhooks.ssrf_guard import PinnedTransport, is_public, validate_url

PUBLIC = "93.184.215.14"


class RecordingTransport(httpx.BaseTransport):
    """A transport that records requests."""

    def __init__(self) -> None:
        self.seen: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return httpx.Response(302, headers={"Location": "http://169.254.169.254/"})


def post(
    url: str, *answers: Sequence[str], allowed: Sequence[str] = ()
) -> tuple[RecordingTransport, httpx.Response, int]:
    """Send a request to a URL whose host resolves to each of `answers` in turn."""
    wire, asked = RecordingTransport(), iter(answers)
    looked_up = []

    def find(host: str, port: int) -> Sequence[str]:
        looked_up.append(host)
        return next(asked)

    with httpx.Client(transport=PinnedTransport(allowed, find, wire), follow_redirects=False) as http:
        response = http.post(url, content=b"x")
    return wire, response, len(looked_up)


@pytest.mark.parametrize(
    "url",
    [
        "http://desk.example/",
        "ftp://desk.example/",
        "file:///etc/passwd",
        "https://user:pass@desk.example/",
        "https://user@desk.example/",
        "https:///nowhere",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://desk.example:99999/",
        "https://desk.example:0/",
        "https://desk.example/#part",
        "https://[::1",
        "//desk.example/",
        "",
        "https://127.1/",
        "https://127.1./",
        "https://127.0.0.1./",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://2130706433/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://api.localhost/",
        "https://a.local/",
        "https://metadata.google.internal./",
        "https://INTERNAL/",
        "https://desk.home.arpa/",
        "https://ex ample.org/",
        "https://exa_mple.org\x00/",
        "https://-desk.example/",
        "https://b\u00fc cher.example/",
        "https://\uff4cocalhost/",
        "https://desk.example:99999999/",
    ],
)
def test_unacceptable_urls_are_rejected(url: str) -> None:
    with pytest.raises(WebhookRefused) as caught:
        validate_url(url)
    assert [field.field for field in caught.value.errors] == ["url"]


@pytest.mark.parametrize(
    "url",
    [
        "https://desk.example/a b?c=d",
        "https://desk.example.:8443/",
        "https://xn--bcher-kva.example/",
        "https://bücher.example/",
        f"https://{PUBLIC}/",
        "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/",
        "https://my_desk.example/",
        "https://localhost.example/",
        "https://my-local/",
        "https://internal.example/",
    ],
)
def test_public_urls_are_accepted(url: str) -> None:
    assert validate_url(url).hostname


def test_allowed_receiver_may_be_local() -> None:
    assert validate_url("http://localhost:8000/", ["localhost:8000"]).hostname == "localhost"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        (PUBLIC, True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("192.168.1.1", False),
        ("172.16.0.1", False),
        ("100.64.0.1", False),
        ("127.9.9.9", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::a00:1", False),
        (f"::ffff:{PUBLIC}", True),
        ("255.255.255.255", False),
    ],
)
def test_is_public(address: str, public: bool) -> None:
    assert is_public(address) == public


def test_connection_uses_the_validated_address() -> None:
    """Host header and TLS name stay the host name's."""
    wire, response, _ = post("https://desk.example:8443/hook", [PUBLIC])
    (request,) = wire.seen
    assert (request.url.host, request.url.port, request.url.path) == (PUBLIC, 8443, "/hook")
    assert request.headers["host"] == "desk.example:8443"
    assert request.extensions["sni_hostname"] == "desk.example"
    assert response.status_code == 302


def test_dns_rebinding_has_no_effect() -> None:
    """DNS rebinding: the name is resolved once, and the message goes to that address."""
    wire, _, looked_up = post("https://rebind.example/", [PUBLIC], ["127.0.0.1"])
    assert ([request.url.host for request in wire.seen], looked_up) == ([PUBLIC], 1)


@pytest.mark.parametrize("answer", [["127.0.0.1"], [PUBLIC, "10.0.0.7"], ["::1"], ["169.254.169.254"], []])
def test_host_with_any_internal_address_is_rejected(answer: list[str]) -> None:
    with pytest.raises(WebhookRefused):
        post("https://evil.example/", answer)


def test_unusual_address_notations_are_resolved() -> None:
    """`https://2130706433/` is 127.0.0.1 for the system's resolver."""
    with pytest.raises(WebhookRefused):
        post("https://2130706433/", ["127.0.0.1"])


def test_allowed_receiver_may_be_internal() -> None:
    wire, _, _ = post("http://hooks.internal:9000/", ["10.0.0.7"], allowed=["hooks.internal:9000"])
    assert wire.seen[0].url.host == "10.0.0.7"
    with pytest.raises(WebhookRefused):
        post("http://hooks.internal:9001/", ["10.0.0.7"], allowed=["hooks.internal:9000"])
