"""A short version of the kill matrix; `make kill` runs all of it."""

import subprocess
import threading
from itertools import product, starmap
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psutil
import pytest

from service.store.failpoints import FAILPOINTS
from tests.fakes.stack import wait_until
from tests.kill.cluster import Cluster, cluster
from tests.kill.faults import ACTIONS, UNSUPPORTED, VICTIMS, Fault, all_failpoints, matrix

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
def test_faults_cause_no_violations(store: str, tmp_path: Path) -> None:
    with cluster(tmp_path, store) as running:
        for fault in FAULTS[store]:
            running.inject(fault)
        assert running.drain() == []
        assert len(running.accepted) >= len(FAULTS[store]) // 2


def test_matrix_covers_every_failpoint_process_and_action() -> None:
    faults = {store: matrix(store, seed=7) for store in UNSUPPORTED}
    assert set(faults["postgres"]) == set(starmap(Fault, product(all_failpoints(), VICTIMS[:-1], ACTIONS)))
    assert {fault.point for fault in faults["sqlite"]} >= set(FAILPOINTS) - {"phase.entered", "phase.done"}
    assert {fault.victim for fault in faults["s3"]} == set(VICTIMS)
    assert all(len(chosen) == len(set(chosen)) for chosen in faults.values())
    assert faults["sqlite"] != matrix("sqlite", seed=8)


def test_stopped_process_is_resumed_after_the_victim_changed() -> None:
    """A process that stays stopped could hold a database lock forever."""
    sleepers = [subprocess.Popen(["sleep", "60"]) for _ in range(2)]
    former, successor = (psutil.Process(sleeper.pid) for sleeper in sleepers)
    fault = Fault("accept.committed", "child", "stop")
    running = Cluster(stack=Mock(), database=Mock(), server=None, stop_seconds=0)
    running.stack.find_process = Mock(return_value=former)

    def reach_failpoint(*_: Any) -> bool:
        running.stack.find_process = Mock(return_value=successor)
        running.apply_fault(fault)
        wait_until(lambda: successor.status() == psutil.STATUS_STOPPED)
        return True

    running.injector = Mock(inject=reach_failpoint)
    try:
        running.inject(fault)
        wait_until(lambda: successor.status() != psutil.STATUS_STOPPED, 5)
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


def test_drain_waits_for_the_last_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is accepted between the two checks would appear to be lost."""
    running, feeder_states = (
        Cluster(stack=Mock(data_dir=Path()), database=Mock(), server=None, stop_seconds=0),
        list[bool](),
    )
    monkeypatch.setattr(
        "tests.kill.cluster.violations", lambda *_: feeder_states.append(running.feeder_done.is_set()) or []
    )
    monkeypatch.setattr(running, "record_ended_jobs", lambda: 0)
    monkeypatch.setattr(running, "pending_deliveries", lambda: 0)
    answered = threading.Timer(0.2, running.feeder_done.set)
    answered.start()
    assert running.drain() == []
    assert feeder_states == [True]
    answered.join()
