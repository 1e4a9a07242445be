"""What an image costs is remembered for the next process; a measurement on a busy machine does not count for long."""

from collections.abc import Callable
from pathlib import Path

import pytest

from editor.jobs import remembered_cost as remembered
from editor.jobs.cost_estimate import GenerationCost
from editor.jobs.remembered_cost import INTERVAL_SECONDS, remembered_cost

Ask = Callable[..., float]


def cost_of(seconds: float) -> GenerationCost:
    return GenerationCost(seconds_per_step=seconds, seconds_per_image=0.0, default_steps=10, memory=int(seconds * 1e9))


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Ask for the seconds of a step in a new process, some seconds after the last one, where measuring gives `measured`."""
    now = [1e9]
    monkeypatch.setattr("editor.jobs.remembered_cost.time.time", lambda: now[0])

    def ask(measured: float | None, later: float = 0.0, device: str = "cpu", again: bool = False) -> float:
        def measure() -> GenerationCost:
            assert measured is not None, "measured although it was remembered"
            return cost_of(measured)

        monkeypatch.setattr(remembered, "_used", {})
        now[0] += later
        return remembered_cost(tmp_path, ["digest", device], measure, again=again).seconds_per_step

    return ask


def test_measurement_is_remembered_for_the_next_process(ask: Ask) -> None:
    assert ask(2.0) == ask(None) == 2.0
    assert ask(3.0, device="cuda:0") == 3.0, "of another device"


def test_fastest_of_a_few_measurements_at_different_times_counts(ask: Ask) -> None:
    assert ask(9.0) == 9.0
    assert ask(2.0, later=INTERVAL_SECONDS + 1) == 2.0
    assert ask(4.0, later=INTERVAL_SECONDS + 1) == 2.0
    assert ask(None, later=INTERVAL_SECONDS + 1) == 2.0, "measured often enough"


def test_measuring_again_replaces_the_oldest_measurement(ask: Ask) -> None:
    assert ask(1.0) == 1.0
    assert [ask(seconds, again=True) for seconds in (5.0, 6.0, 7.0)] == [1.0, 1.0, 5.0]


def test_file_of_an_earlier_version_is_measured_anew(ask: Ask, tmp_path: Path) -> None:
    ask(2.0)
    (path,) = tmp_path.glob("*.json")
    path.write_text(cost_of(2.0).model_dump_json())
    assert ask(3.0, later=1.0) == 3.0
