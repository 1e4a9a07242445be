"""Faults, and the one who strikes: he listens at the places of `service.store.failpoints`."""

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
HOWS = ("kill", "stop")
ABSENT = {"sqlite": {"database", "bucket"}, "postgres": {"bucket"}, "s3": {"blob.synced"}}
"""Each store, and what it lacks: SQLite has no process, a bucket no `fsync`. `s3` is PostgreSQL and a bucket."""


@dataclass(frozen=True)
class Fault:
    """When some process comes to `point`, `victim` is killed with signal 9, or stopped for a while."""

    point: str
    victim: str
    how: str

    def __str__(self) -> str:
        return f"{self.how} {self.victim} at {self.point}"


def points() -> list[str]:
    """Every place that a job passes on its way."""
    return [
        name for point in FAILPOINTS for name in ([f"{point}.{p}" for p in PHASES] if "phase." in point else [point])
    ]


def matrix(store: str, seed: int) -> list[Fault]:
    """Every place with every victim in both ways, in an order of its own for each seed."""
    faults = [fault for fault in starmap(Fault, product(points(), VICTIMS, HOWS)) if _possible(fault, store)]
    random.Random(seed).shuffle(faults)
    return faults


def _possible(fault: Fault, store: str) -> bool:
    """The tests' bucket keeps all in memory: killed, it is another one."""
    return not {fault.point, fault.victim} & ABSENT[store] and (fault.victim, fault.how) != ("bucket", "kill")


class Striker:
    """Waits for a process to come to the armed fault's place, and strikes before it may go on."""

    def __init__(self, path: Path, strike: Callable[[Fault], None]) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._strike = strike
        self._armed: Fault | None = None
        self._struck = threading.Event()
        self._turn = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def strike(self, fault: Fault, seconds: float) -> bool:
        """Arm, and wait until it has happened. False: nobody came to the place."""
        self._struck.clear()
        self._armed = fault
        if self._struck.wait(seconds):
            return True
        with self._turn:
            nobody, self._armed = self._armed is not None, None
        return not nobody and self._struck.wait(seconds)  # somebody came at the last moment: let it happen

    def close(self) -> None:
        self._listener.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                wire, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=[wire], daemon=True).start()

    def _answer(self, wire: socket.socket) -> None:
        with wire, suppress(OSError):
            point = wire.makefile().readline().strip()
            with self._turn:
                fault, here = self._armed, self._armed is not None and self._armed.point == point
                self._armed = None if here else self._armed
            if fault and here:
                self._strike(fault)
                self._struck.set()
            wire.sendall(b".")


@contextmanager
def striking(path: Path, strike: Callable[[Fault], None]) -> Iterator[Striker]:
    striker = Striker(path, strike)
    try:
        yield striker
    finally:
        striker.close()
