"""A short form of the kill matrix: each process, at places of its own and of others. The whole is `make kill`."""

import subprocess
import threading
from itertools import product, starmap
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psutil
import pytest

from service.store.failpoints import FAILPOINTS
from tests.fakes.stack import eventually
from tests.kill.cluster import Cluster, cluster
from tests.kill.faults import ABSENT, HOWS, VICTIMS, Fault, matrix, points

FAULTS = {
    "sqlite": [
        Fault("accept.written", "api", "kill"),
        Fault("enqueue.sent", "dispatcher", "kill"),
        Fault("publish.written", "child", "kill"),
        Fault("blob.renamed", "worker", "kill"),
        Fault("phase.done.trace", "child", "stop"),
    ],
    "s3": [
        Fault("publish.written", "database", "kill"),
        Fault("blob.written", "bucket", "stop"),
        Fault("claim.written", "broker", "kill"),
        Fault("accept.committed", "api", "stop"),
    ],
}


@pytest.mark.parametrize("store", FAULTS)
def test_nothing_is_lost_and_nothing_comes_twice(store: str, tmp_path: Path) -> None:
    with cluster(tmp_path, store) as busy:
        for fault in FAULTS[store]:
            busy.inject(fault)
        assert busy.drain() == []
        assert len(busy.accepted) >= len(FAULTS[store]) // 2


def test_the_whole_matrix_has_every_place_with_every_process_in_both_ways() -> None:
    faults = {store: matrix(store, seed=7) for store in ABSENT}
    assert set(faults["postgres"]) == set(starmap(Fault, product(points(), VICTIMS[:-1], HOWS)))
    assert {fault.point for fault in faults["sqlite"]} >= set(FAILPOINTS) - {"phase.entered", "phase.done"}
    assert {fault.victim for fault in faults["s3"]} == set(VICTIMS)
    assert all(len(chosen) == len(set(chosen)) for chosen in faults.values())
    assert faults["sqlite"] != matrix("sqlite", seed=8)


def test_whoever_is_stopped_is_woken_although_another_was_there_when_the_fault_was_armed() -> None:
    """Left asleep, he might hold a lock of the database for ever, and nothing would move any more."""
    sleepers = [subprocess.Popen(["sleep", "60"]) for _ in range(2)]
    former, successor = (psutil.Process(sleeper.pid) for sleeper in sleepers)
    fault = Fault("accept.committed", "child", "stop")
    busy = Cluster(stack=Mock(), database=Mock(), server=None, stop_seconds=0)
    busy.stack.find = Mock(return_value=former)

    def come(*_: Any) -> bool:
        busy.stack.find = Mock(return_value=successor)
        busy.strike(fault)
        eventually(lambda: successor.status() == psutil.STATUS_STOPPED)
        return True

    busy.striker = Mock(strike=come)
    try:
        busy.inject(fault)
        eventually(lambda: successor.status() != psutil.STATUS_STOPPED, 5)
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


def test_nobody_looks_before_the_last_request_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is accepted between the two looks, at the jobs and at what was accepted, would seem to be lost."""
    busy, looked = Cluster(stack=Mock(data_dir=Path()), database=Mock(), server=None, stop_seconds=0), list[bool]()
    monkeypatch.setattr("tests.kill.cluster.violations", lambda *_: looked.append(busy.fed.is_set()) or [])
    monkeypatch.setattr(busy, "look", lambda: 0)
    monkeypatch.setattr(busy, "unsent", lambda: 0)
    answered = threading.Timer(0.2, busy.fed.set)
    answered.start()
    assert busy.drain() == []
    assert looked == [True]
    answered.join()
