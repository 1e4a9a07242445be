"""Attempts that are made at the same time, over real connections."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from service.store.clock import utc_now
from service.webhooks.addresses import PinnedTransport
from service.webhooks.sender import Outcome, send
from service.webhooks.signing import Signer


@dataclass
class Receiver:
    """Answers `/fast` at once, and `/slow` when it is let."""

    address: str = ""
    asked: threading.Event = field(default_factory=threading.Event)
    let: threading.Event = field(default_factory=threading.Event)


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
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


def test_an_attempt_that_ends_leaves_the_others_their_connections() -> None:
    with receiving() as receiver, ThreadPoolExecutor(1) as another:
        transport = PinnedTransport([receiver.address])

        def attempt(path: str) -> Outcome:
            return send(transport, f"http://{receiver.address}{path}", Signer.new(), "msg_1", b"{}", utc_now())

        slow = another.submit(attempt, "/slow")
        assert receiver.asked.wait(10)
        assert attempt("/fast").delivered
        receiver.let.set()
        assert slow.result().delivered, slow.result().error
