"""The API server process.

    python -m service.server [--host H] [--port P] [--fd N] [--tls-certificate C --tls-key K] [--behind-proxy]

`--fd` inherits a bound socket: the launcher keeps it open while the server restarts.
"""

import argparse
import gc
import socket
import sys
from pathlib import Path
from types import FrameType

import uvicorn

from service.api.http_protocol import RequestLimits, limited_protocol
from service.core.app_state import AppState
from service.launcher.tls import ListenPolicy
from service.settings import ServiceSettings
from service.store import logs
from service.store.process import run_process
from service.web.app import create_site

DRAIN_SECONDS = 5
SWITCH_INTERVAL_SECONDS = 0.0005
"""For `sys.setswitchinterval`. The default of 5 ms delays threads that return from the database and dominates the latency of a
POST under load."""


class _Server(uvicorn.Server):
    """Ends open event streams when the server is stopped, before uvicorn waits for them."""

    def __init__(self, config: uvicorn.Config, app_state: AppState) -> None:
        super().__init__(config)
        self._app_state = app_state

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._app_state.shutting_down.set()
        super().handle_exit(sig, frame)


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    options = _parse_arguments()
    listen_policy = ListenPolicy(options.tls_certificate, options.tls_key, options.behind_proxy)
    if options.fd is None:  # otherwise the launcher has checked it
        listen_policy.check(options.host)
    settings = ServiceSettings()
    logs.configure_process(settings)
    app_state = AppState.from_settings(settings)
    config = uvicorn.Config(
        create_site(app_state),
        ws="none",
        http=limited_protocol(RequestLimits.from_settings(settings)),
        host=options.host,
        port=options.port,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        server_header=False,
        access_log=False,  # our own log leaves out the query, which can name a concept
        log_config=None,
        ssl_certfile=listen_policy.certificate,
        ssl_keyfile=listen_policy.key,
    )
    _tune_gc()
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    sockets = [socket.socket(fileno=options.fd)] if options.fd is not None else None
    _Server(config, app_state).run(sockets)


def _tune_gc() -> None:
    """Collect garbage less often: requests create few reference cycles, and this halves the cost of collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m service.server")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8484)
    parser.add_argument("--fd", type=int)
    parser.add_argument("--tls-certificate", type=Path)
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--behind-proxy", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    run_process(main)
