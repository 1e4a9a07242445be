"""A short form of the kill matrix: each process, at places of its own and of others. The whole is `make kill`."""

from pathlib import Path

import pytest

from service.store.faults import POINTS
from tests.kill.cluster import cluster
from tests.kill.faults import HOWS, VICTIMS, Fault, matrix, points

FAULTS = {
    "sqlite": [
        Fault("accept.written", "api", "kill"),
        Fault("enqueue.sent", "dispatcher", "kill"),
        Fault("publish.written", "child", "kill"),
        Fault("blob.renamed", "worker", "kill"),
        Fault("phase.done.trace", "child", "stop"),
    ],
    "postgres": [
        Fault("publish.written", "database", "kill"),
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
    faults = matrix(VICTIMS, seed=7)
    assert len(faults) == len(set(faults)) == len(points()) * len(VICTIMS) * len(HOWS)
    assert {fault.point for fault in faults} >= set(POINTS) - {"phase.entered", "phase.done"}
    assert faults != matrix(VICTIMS, seed=8)
