"""A short version of `tests.kill.fleets`; `make kill` kills every process at every point."""

from pathlib import Path

from service.store.failpoints import FLEET_FAILPOINTS, MODEL_FAILPOINTS
from tests.kill.faults import Fault
from tests.kill.fleets import PASSED_BY, run

POINTS = ("fleet.created", "model.quarantined", "fleet.carried", "model.admitted")


def test_killed_processes_lose_no_fleet_and_no_model(tmp_path: Path) -> None:
    count, violations = run(tmp_path, [Fault(point, PASSED_BY[point], "kill") for point in POINTS])
    assert violations == []
    assert count >= 1


def test_every_failpoint_has_its_process() -> None:
    assert set(PASSED_BY) == {*FLEET_FAILPOINTS, *MODEL_FAILPOINTS}
