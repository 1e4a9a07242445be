"""Readiness checks that cannot block the API: bounded in time, one at a time, and cached.

Each check runs in a thread of its own, not in the pool of the routes. A server that accepts connections and never answers
thus holds one thread for each check, however many requests for readiness arrive.
"""

import asyncio
import errno
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from functools import partial
from typing import TypeVar

from kombu import Connection

from service.core.app_state import AppState

CHECK_SECONDS = 1.5
"""Time limit of a probe. A check that takes longer is reported as hung."""
CACHE_SECONDS = 1.0
"""How long the results of a probe are returned to later requests."""
BROKER_SECONDS = 2.0
"""Time limit of each operation on the broker's connection."""
NO_RESPONSE = f"no response within {CHECK_SECONDS:g} s"
DISK_FULL = "the disk is full"

T = TypeVar("T")
Results = dict[str, str]
"""Maps the name of each check to `ok` or an error message."""


class Readiness:
    """Probes what the API depends on.

    Args:
        checks: Maps the name of each check to a function that raises if it fails.
    """

    def __init__(self, checks: Mapping[str, Callable[[], object]]) -> None:
        self._checks = checks
        self._running: dict[str, Future[str]] = {}
        self._lock = threading.Lock()
        self._probe: Future[Results] | None = None
        self._probed_at = 0.0

    @classmethod
    def from_app_state(cls, app_state: AppState) -> "Readiness":
        """Return the probe of the database, the broker and the artifact store."""
        return cls(
            {
                "database": app_state.database.check,
                "broker": lambda: _reach_broker(app_state.settings.broker_url),
                "blobs": app_state.blobs.check,
            }
        )

    async def check(self) -> Results:
        """Return the results of the running probe, of one that ended in the last second, or of a new one."""
        return await asyncio.shield(asyncio.wrap_future(self._current_probe()))

    def _current_probe(self) -> Future[Results]:
        with self._lock:
            probe = self._probe
            if probe is None or (probe.done() and time.monotonic() - self._probed_at > CACHE_SECONDS):
                probe = self._probe = _run_in_thread(self._run_checks)
            return probe

    def _run_checks(self) -> Results:
        """Run all checks at the same time. A check that still hangs since an earlier probe is not started again."""
        for name, check in self._checks.items():
            if name not in self._running:
                self._running[name] = _run_in_thread(partial(_outcome, check))
        done, _ = wait(self._running.values(), CHECK_SECONDS)
        results = {name: future.result() if future in done else NO_RESPONSE for name, future in self._running.items()}
        self._running = {name: future for name, future in self._running.items() if future not in done}
        self._probed_at = time.monotonic()
        return {name: results[name] for name in self._checks}


def _run_in_thread(function: Callable[[], T]) -> Future[T]:
    """Run the function in a thread that does not keep the process alive."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="readiness", daemon=True).start()
    return future


def _outcome(check: Callable[[], object]) -> str:
    """Return `ok` or what is wrong. The error's text is left out, because it can contain a password."""
    try:
        check()
    except Exception as error:
        if _has_cause(error, lambda cause: isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)):
            return DISK_FULL
        if _has_cause(error, lambda cause: "timeout" in type(cause).__name__.lower()):
            return NO_RESPONSE
        return type(error).__name__
    return "ok"


def _has_cause(error: BaseException, matches: Callable[[BaseException], bool]) -> bool:
    """Return whether the error or one of those that led to it matches."""
    cause: BaseException | None = error
    while cause is not None and not matches(cause):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def _reach_broker(url: str) -> None:
    options = {
        "socket_connect_timeout": BROKER_SECONDS,
        "socket_timeout": BROKER_SECONDS,
        "retry_on_timeout": False,
        "max_connections": 1,
    }
    with Connection(url, connect_timeout=BROKER_SECONDS, transport_options=options) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=BROKER_SECONDS)
