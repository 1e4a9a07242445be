"""Concurrent delivery attempts over real connections."""

import gzip
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest

from service.store.clock import utc_now
from service.webhooks import sender
from service.webhooks.sender import AttemptResult, send
from service.webhooks.signing import WebhookSigner
from service.webhooks.ssrf_guard import PinnedTransport


def endless() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n\r\n"
    while True:
        yield b"x" * 65_536


def slow_response() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n\r\n"
    while True:
        yield b"x"
        time.sleep(0.02)


def gzip_bomb() -> Iterator[bytes]:
    bomb = gzip.compress(bytes(20_000_000))
    yield f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    yield bomb


def endless_headers() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"X-More: " + b"x" * 1000 + b"\r\n"


def garbage() -> Iterator[bytes]:
    yield bytes(range(256)) * 40


HOSTILE = {f"/{answer.__name__}": answer for answer in (endless, slow_response, gzip_bomb, endless_headers, garbage)}
"""Responses of malicious receivers."""


@dataclass
class Receiver:
    """A receiver that answers `/fast` at once, and `/slow` when it is released."""

    address: str = ""
    asked: threading.Event = field(default_factory=threading.Event)
    let: threading.Event = field(default_factory=threading.Event)


@contextmanager
def run_receiver() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            if self.path in HOSTILE:
                with suppress(OSError):
                    for part in HOSTILE[self.path]():
                        self.wfile.write(part)
                return
            if self.path == "/slow":
                receiver.asked.set()
                receiver.let.wait(10)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        receiver.address = f"127.0.0.1:{server.server_port}"
        try:
            yield receiver
        finally:
            server.shutdown()


def test_finished_attempt_keeps_other_connections_open() -> None:
    with run_receiver() as receiver, ThreadPoolExecutor(1) as another:
        transport = PinnedTransport([receiver.address])

        def attempt(path: str) -> AttemptResult:
            return send(transport, f"http://{receiver.address}{path}", WebhookSigner.new(), "msg_1", b"{}", utc_now())

        slow = another.submit(attempt, "/slow")
        assert receiver.asked.wait(10)
        assert attempt("/fast").delivered
        receiver.let.set()
        assert slow.result().delivered, slow.result().error


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/endless", None),
        ("/slow_response", "ReadTimeout"),
        ("/gzip_bomb", None),
        ("/endless_headers", "RemoteProtocolError"),
        ("/garbage", "RemoteProtocolError"),
    ],
)
def test_malicious_receiver_is_bounded_in_time_and_memory(
    monkeypatch: pytest.MonkeyPatch, path: str, error: str | None
) -> None:
    """A bounded part of the reply is read, nothing is decompressed, and endless replies are aborted."""
    monkeypatch.setattr(sender, "MAX_ATTEMPT_SECONDS", 0.3)
    before, started = psutil.Process().memory_info().rss, time.monotonic()
    with run_receiver() as receiver:
        transport = PinnedTransport([receiver.address])
        outcome = send(transport, f"http://{receiver.address}{path}", WebhookSigner.new(), "msg_1", b"{}", utc_now())
    assert (outcome.error, len(outcome.reply) <= sender.MAX_STORED_BYTES) == (error, True)
    assert time.monotonic() - started < 5
    assert psutil.Process().memory_info().rss - before < 16_000_000
