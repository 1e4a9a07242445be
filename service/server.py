"""The API as a process.

    python -m service.server [--host H] [--port P] [--fd N] [--tls-certificate C --tls-key K] [--behind-proxy]

`--fd` takes over a socket that somebody else has bound: the launcher keeps it open while we restart.
"""

import argparse
import gc
import socket
import sys
from pathlib import Path
from types import FrameType

import uvicorn

from service.api.app import create_app
from service.core.app_state import Backend
from service.launcher.tls import Exposure
from service.settings import ServiceSettings
from service.store import logs

DRAIN_SECONDS = 5
THREADS_TURN = 0.0005
"""Seconds that the event loop may keep a thread from going on that comes back from the database. Python's own 5 ms, at
each of a transaction's statements, is most of what a POST takes under load."""


class _Server(uvicorn.Server):
    """Tells open streams that we are about to stop, before uvicorn waits for them to end."""

    def __init__(self, config: uvicorn.Config, backend: Backend) -> None:
        super().__init__(config)
        self._backend = backend

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._backend.closing.set()
        super().handle_exit(sig, frame)


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    options = _options()
    exposure = Exposure(options.tls_certificate, options.tls_key, options.behind_proxy)
    if options.fd is None:  # else the launcher has looked
        exposure.check(options.host)
    settings = ServiceSettings()
    logs.configure(settings)
    backend = Backend.from_settings(settings)
    config = uvicorn.Config(
        create_app(backend),
        host=options.host,
        port=options.port,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        server_header=False,
        access_log=False,  # ours has no query: it may name a concept
        log_config=None,
        ssl_certfile=exposure.certificate,
        ssl_keyfile=exposure.key,
    )
    _spare_the_collector()
    sys.setswitchinterval(THREADS_TURN)
    sockets = [socket.socket(fileno=options.fd)] if options.fd is not None else None
    _Server(config, backend).run(sockets)


def _spare_the_collector() -> None:
    """What is there now stays. A request leaves hardly a cycle behind: looking for them less often halves what it costs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m service.server")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8484)
    parser.add_argument("--fd", type=int)
    parser.add_argument("--tls-certificate", type=Path)
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--behind-proxy", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
