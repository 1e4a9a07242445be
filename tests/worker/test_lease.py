"""The lease's heartbeat, and jobs that ignore their cancellation."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from service.store import claims, jobs
from service.store.claims import Claim
from service.store.database import Database
from service.store.orm import Job
from tests.fakes.clock import FakeClock
from worker.errors import JobCanceled, LeaseLost
from worker.lease import Lease
from worker.progress import ProgressReporter, overall_progress
from worker.settings import WorkerSettings


@pytest.fixture
def claim(submit: Callable[..., str], database: Database, clock: FakeClock) -> Claim:
    with database.write() as session:
        claim = claims.claim(session, submit(), owner="one", lease=timedelta(seconds=30), now=clock())
    assert claim
    return claim


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_heartbeat_extends_the_lease(
    database: Database, claim: Claim, settings: WorkerSettings, clock: FakeClock, read: Callable[[str], Job]
) -> None:
    with Lease(database, claim, settings, clock):
        clock.advance(20)
        wait_until(lambda: read(claim.job_id).lease_until == clock() + settings.lease)


def test_lost_lease_is_detected(database: Database, claim: Claim, settings: WorkerSettings, clock: FakeClock) -> None:
    def lost() -> bool:
        try:
            lease.check()
        except LeaseLost:
            return True
        return False

    with Lease(database, claim, settings, clock) as lease:
        lease.check()
        with database.write() as session:  # No heartbeat comes in between.
            claims.claim(session, claim.job_id, owner="two", lease=settings.lease, now=clock.advance(31))
        wait_until(lost)


def test_ignored_cancellation_ends_the_process(
    database: Database, claim: Claim, settings: WorkerSettings, clock: FakeClock, read: Callable[[str], Job]
) -> None:
    exited, codes = threading.Event(), list[int]()

    def exit_process(code: int) -> None:
        codes.append(code)
        exited.set()

    with Lease(database, claim, settings, clock, exit_process) as lease:
        with database.write() as session:
            jobs.cancel(session, claim.job_id, now=clock())
        assert exited.wait(5)
        with pytest.raises(JobCanceled):
            lease.check()
    assert codes == [1]
    assert read(claim.job_id).status == "canceled"


def test_grace_is_counted_in_time(
    database: Database, claim: Claim, settings: WorkerSettings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heartbeats come at longer intervals."""
    learned, exited, extend = list[float](), threading.Event(), claims.extend_lease

    def noting(*arguments: object, **options: object) -> object:
        learned.append(time.monotonic())
        return extend(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(claims, "extend_lease", noting)
    with database.write() as session:
        jobs.cancel(session, claim.job_id, now=clock())
    own = settings.model_copy(update={"heartbeat_seconds": 0.3, "cancel_grace_seconds": 0.4})
    with Lease(database, claim, own, clock, lambda code: exited.set()):
        assert exited.wait(5)
        assert 0.4 <= time.monotonic() - learned[0] < 0.6


def test_heartbeat_survives_an_unavailable_database(
    database: Database, claim: Claim, settings: WorkerSettings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats, extend = list[int](), claims.extend_lease

    def flaky(*arguments: object, **options: object) -> object:
        beats.append(1)
        if len(beats) == 1:
            raise OSError("unavailable")
        return extend(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(claims, "extend_lease", flaky)
    with Lease(database, claim, settings, clock) as lease:
        wait_until(lambda: len(beats) > 2)
        lease.check()


def test_progress_is_throttled_but_the_lease_is_always_checked(
    database: Database, claim: Claim, settings: WorkerSettings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, report = list[str](), claims.report_progress

    def counting(*arguments: object, **options: object) -> object:
        written.append(str(arguments[3]))
        return report(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(claims, "report_progress", counting)
    lease = Lease(database, claim, settings, clock)
    reporter = ProgressReporter(database, claim, lease, 60.0, clock)
    reporter.phases = ["edit"]
    reporter.start_phase("edit")
    for step in range(100):
        reporter("edit", step / 100, f"step {step}")
    assert written == ["edit"]
    with pytest.raises(JobCanceled):
        lease.update_status("canceling")
    with pytest.raises(JobCanceled):
        reporter("edit", 1.0, "done")


def test_overall_progress_is_monotonic_from_0_to_1() -> None:
    phases = ("trace", "edit", "something new", "publish")
    steps = [overall_progress(phases, phase, fraction) for phase in phases for fraction in (0.0, 0.5, 1.0)]
    assert steps[0] == 0.0
    assert steps[-1] == pytest.approx(1.0)
    assert steps == sorted(steps)
