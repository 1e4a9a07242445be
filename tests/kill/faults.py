"""Faults, and the injector that listens at the failpoints of `service.store.failpoints`."""

import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import product, starmap
from pathlib import Path

from service.store.failpoints import FAILPOINTS
from tests.fakes.editor import PHASES

VICTIMS = ("api", "dispatcher", "worker", "child", "broker", "database", "bucket")
ACTIONS = ("kill", "stop")
UNSUPPORTED = {"sqlite": {"database", "bucket"}, "postgres": {"bucket"}, "s3": {"blob.synced"}}
"""Victims and failpoints that a store does not have. `s3` is PostgreSQL with a bucket."""


@dataclass(frozen=True)
class Fault:
    """When a process reaches `point`, `victim` is killed with SIGKILL, or stopped for a while."""

    point: str
    victim: str
    how: str

    def __str__(self) -> str:
        return f"{self.how} {self.victim} at {self.point}"


def all_failpoints() -> list[str]:
    """Return every failpoint that a job passes."""
    return [
        name for point in FAILPOINTS for name in ([f"{point}.{p}" for p in PHASES] if "phase." in point else [point])
    ]


def matrix(store: str, seed: int) -> list[Fault]:
    """Return every combination of failpoint, victim and action, in an order that depends on the seed."""
    faults = [
        fault for fault in starmap(Fault, product(all_failpoints(), VICTIMS, ACTIONS)) if _is_possible(fault, store)
    ]
    random.Random(seed).shuffle(faults)
    return faults


def _is_possible(fault: Fault, store: str) -> bool:
    """Return whether the store supports the fault. A killed bucket would lose its contents, which are in memory."""
    return not {fault.point, fault.victim} & UNSUPPORTED[store] and (fault.victim, fault.how) != ("bucket", "kill")


class FaultInjector:
    """Waits for a process to reach the pending fault's failpoint, and injects the fault before the process continues."""

    def __init__(self, path: Path, apply: Callable[[Fault], None]) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._apply = apply
        self._pending: Fault | None = None
        self._injected = threading.Event()
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def inject(self, fault: Fault, seconds: float) -> bool:
        """Wait until the fault was injected. Returns False if the failpoint was not reached."""
        self._injected.clear()
        self._pending = fault
        if self._injected.wait(seconds):
            return True
        with self._lock:
            unreached, self._pending = self._pending is not None, None
        return not unreached and self._injected.wait(seconds)  # The failpoint was reached at the last moment.

    def close(self) -> None:
        self._listener.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=[connection], daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            point = connection.makefile().readline().strip()
            with self._lock:
                fault, matches = self._pending, self._pending is not None and self._pending.point == point
                self._pending = None if matches else self._pending
            if fault and matches:
                self._apply(fault)
                self._injected.set()
            connection.sendall(b".")


@contextmanager
def fault_injector(path: Path, apply: Callable[[Fault], None]) -> Iterator[FaultInjector]:
    injector = FaultInjector(path, apply)
    try:
        yield injector
    finally:
        injector.close()
