"""Progress reaches the callback from any depth, and the callback can cancel at any of these places."""

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from editor.io.background import run_in_background
from editor.io.digests import file_digest
from editor.io.progress import check_canceled, checked, no_progress, report_fraction, report_to, step, track
from editor.solver.fixed_point import FixedPointStatistics
from editor.solver.incremental_statistics import sum_statistics


class CanceledError(Exception):
    pass


def cancel(fraction: float) -> None:
    raise CanceledError


def test_nested_steps_report_fractions_of_the_whole() -> None:
    fractions: list[float] = []
    with report_to(fractions.append):
        with step(0.0, 0.5):
            for _ in track([1, 2]):
                report_fraction(0.5)
        check_canceled()
        with step(0.5, 0.5):
            no_progress(0.9)
    assert fractions == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5, 0.5, 1.0]


@pytest.mark.parametrize(
    "place", [check_canceled, lambda: no_progress(0.5), lambda: next(checked("a")), lambda: report_fraction(1)]
)
def test_callback_cancels(place: Callable[[], object]) -> None:
    with report_to(cancel), pytest.raises(CanceledError):
        place()
    place()


def test_abandoned_steps_do_not_outlive_the_work() -> None:
    ended: list[float] = []
    with report_to(ended.append):
        abandoned = track([1, 2])
        next(abandoned)
    check_canceled()
    fractions: list[float] = []
    with report_to(fractions.append):
        abandoned.close()
        check_canceled()
    assert (ended, fractions) == ([], [0.0])


def test_native_code_returns_its_result_or_error() -> None:
    assert run_in_background(lambda: 3).join() == 3
    with pytest.raises(ZeroDivisionError):
        run_in_background(lambda: 1 // 0).join()


def test_cancellation_does_not_wait_for_native_code() -> None:
    started = time.monotonic()
    with report_to(cancel), pytest.raises(CanceledError):
        run_in_background(lambda: time.sleep(3)).join()
    assert time.monotonic() - started < 2


def test_thread_reports_its_progress_and_ends_when_the_work_is_canceled() -> None:
    ended, fractions = threading.Event(), list[float]()

    def compute() -> int:
        try:
            for number in track(range(100)):
                time.sleep(0.01 if number < 50 else 0.002)
        finally:
            ended.set()
        return 1

    with report_to(fractions.append):
        assert run_in_background(compute).join() == 1
    assert any(0 < one < 1 for one in fractions)
    ended.clear()
    with report_to(cancel), pytest.raises(CanceledError):
        run_in_background(compute).join()
    assert ended.wait(1)


def test_digest_reports_the_share_of_the_bytes(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(3 << 20))
    fractions: list[float] = []
    with report_to(fractions.append):
        assert file_digest(file, report=True) == hashlib.sha256(file.read_bytes()).hexdigest()
    assert fractions == pytest.approx([1 / 3, 2 / 3, 1.0])
    with report_to(cancel), pytest.raises(CanceledError):
        file_digest(file)


def test_sums_of_many_items_stop_when_canceled() -> None:
    zeros, computed = FixedPointStatistics.zeros((2, 2), 1.0), list[int]()

    def compute(item: int) -> FixedPointStatistics:
        computed.append(item)
        time.sleep(0.02)
        return FixedPointStatistics(1.0, torch.ones(2, 2, dtype=torch.long), torch.zeros(2, 2, dtype=torch.long), 1)

    fractions: list[float] = []
    with report_to(fractions.append):
        assert sum_statistics(zeros, range(40), compute).row_count == 40
    assert any(0 < one < 1 for one in fractions)
    computed.clear()
    with report_to(cancel), pytest.raises(CanceledError):
        sum_statistics(zeros, range(1000), compute)
    assert len(computed) < 100
