"""Requests with large, slow or unfinished headers and bodies are refused, and their connections are closed."""

import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from service.api.http_protocol import MAX_HEADERS, RequestLimits, limited_protocol
from tests.fakes.stack import wait_until

LIMITS = RequestLimits(header_bytes=4096, header_seconds=0.5, body_seconds=0.5)
GET = b"GET /echo HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: x\r\n"


async def echo(request: Request) -> Response:
    try:
        return PlainTextResponse(await request.body())
    except ClientDisconnect:
        return PlainTextResponse("", 400)


async def early(request: Request) -> Response:
    """Respond without reading the body."""
    return PlainTextResponse("early")


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    app = Starlette(routes=[Route("/echo", echo, methods=["GET", "POST"]), Route("/early", early, methods=["POST"])])
    config = uvicorn.Config(app, port=0, ws="none", http=limited_protocol(LIMITS), log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    yield server.servers[0].sockets[0].getsockname()[:2]
    server.should_exit = True
    thread.join()


def exchange(address: tuple[str, int], *parts: bytes, pause: float = 0.0) -> bytes:
    """Send parts with a pause after each, and return everything that the server sends until it closes the connection."""
    received = b""
    with socket.create_connection(address, timeout=10) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            while chunk := connection.recv(65_536):
                received += chunk
        except ConnectionError:  # it sent a reset, because it has not read everything
            pass
    return received


def problem(response: bytes) -> tuple[int, str]:
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert b"Connection: close" in head
    return int(head.split()[1]), json.loads(body)["code"]


@pytest.mark.parametrize(
    "parts",
    [
        [GET + b"X: " + b"a" * 5000 + b"\r\n\r\n"],
        [GET + b"X: ", *[b"a" * 1000] * 5],
        [b"GET /" + b"a" * 5000],
        [GET + b"".join(b"X%d: a\r\n" % number for number in range(MAX_HEADERS + 1)) + b"\r\n"],
        [POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", *[b"a" * 1000] * 5],
    ],
    ids=["complete field", "unfinished field", "unfinished URL", "many fields", "trailers"],
)
def test_large_header_is_refused(address: tuple[str, int], parts: list[bytes]) -> None:
    assert problem(exchange(address, *parts, pause=0.01)) == (431, "header_too_large")


@pytest.mark.parametrize(
    "parts", [[b""], [GET], [GET, b"X: a\r\n"], [b"\r\n"] * 3], ids=["nothing", "half", "two parts", "line breaks"]
)
def test_slow_header_times_out(address: tuple[str, int], parts: list[bytes]) -> None:
    started = time.monotonic()
    assert problem(exchange(address, *parts, pause=0.15)) == (408, "request_timeout")
    assert time.monotonic() - started < 0.8


@pytest.mark.parametrize("parts", [[b"half"], [b"a"] * 3], ids=["stopped", "slow"])
def test_half_sent_body_times_out(address: tuple[str, int], parts: list[bytes]) -> None:
    started = time.monotonic()
    response = exchange(address, POST + b"Content-Length: 1000\r\n\r\n", *parts, pause=0.12)
    assert problem(response) == (408, "request_timeout")
    assert time.monotonic() - started < 0.8


def test_half_sent_body_of_an_answered_request_is_not_waited_for(address: tuple[str, int]) -> None:
    started = time.monotonic()
    response = exchange(address, b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", b"half")
    assert response.endswith(b"early")
    assert time.monotonic() - started < 1


def test_requests_within_the_limits_are_answered(address: tuple[str, int]) -> None:
    """Also several in one connection and pipelined, with a body that is larger than the limit of the header."""
    body = b"b" * 20_000
    whole = POST + b"Content-Length: 20000\r\nX: " + b"a" * 3000 + b"\r\n\r\n" + body
    last = GET + b"Connection: close\r\n\r\n"
    response = exchange(address, whole, whole + whole[:100], whole[100:], last, pause=0.05)
    assert response.count(b"HTTP/1.1 200 OK") == 4
    assert response.count(body) == 3
