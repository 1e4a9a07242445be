"""A calibration is published once, found by the base's digest, and fetched by other workers."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from api_schemas.calibrations import CalibrationTask
from service.store import calibrations, claims, events, gc, jobs, registered_files, retention
from service.store.database import Database
from service.store.jobs import NewJob
from service.store.orm import Job
from tests.fakes.calibrator import FIGURES, base_digest
from tests.fakes.clock import FakeClock
from tests.fakes.model import WEIGHTS
from worker.calibration import PublishedCalibrations
from worker.runner import Runner

Read = Callable[[str], Job]
Calibrate = Callable[..., str]
PUBLISHED = ["sae/object/sae.safetensors", "calibration.json", "manifest.json"]


@pytest.fixture
def calibrate(database: Database, clock: FakeClock) -> Calibrate:
    def submit(**wishes: int) -> str:
        task = CalibrationTask(model="tiny", **wishes)
        with database.write() as session:
            return jobs.create(session, NewJob(task, "key", kind="calibration"), now=clock()).id

    return submit


@pytest.fixture
def digest(runner: Runner) -> str:
    return base_digest(runner.registry.get("tiny").path)


def content(folder: Path) -> str:
    return (folder / "calibration.json").read_text()


def test_calibration_is_published_and_recorded(
    runner: Runner, calibrate: Calibrate, read: Read, database: Database, digest: str
) -> None:
    job_id = calibrate()
    runner.run(job_id)
    job = read(job_id)
    assert (job.status, job.progress, job.verdict) == ("succeeded", 1.0, None)
    assert [row.name for row in job.artifacts] == PUBLISHED
    assert not runner.settings.workdir(job_id).exists()
    with database.read() as session:
        found = calibrations.of_model(session, "tiny", None)
        assert found
        assert (found.digest, found.judge, found.job_id) == (digest, "fake@0", job_id)
        assert found.figures == [FIGURES.model_dump()]


def test_estimate_is_an_event_before_anything_is_generated(
    runner: Runner, calibrate: Calibrate, database: Database
) -> None:
    job_id = calibrate()
    runner.run(job_id)
    with database.read() as session:
        found = [event for event in events.after(session, job_id, 0, 100) if event.type != "status"]
    assert [event.type for event in found[:3]] == ["phase", "progress", "progress"]
    assert found[1].message == "estimate: up to 800 images, about 0:01:30, 2.0 GB of memory"
    assert found[1].data["estimate"] == {"images": 800, "seconds": 90.0, "memory": 2_000_000_000}
    assert not any("estimate" in event.data for event in found[2:])


def test_crashed_calibration_is_tried_again(runner: Runner, calibrate: Calibrate, read: Read, clock: FakeClock) -> None:
    job_id = calibrate(seed=1)
    runner.run(job_id)
    assert read(job_id).status == "queued"
    clock.advance(60)
    runner.run(job_id)
    assert (read(job_id).status, read(job_id).attempt) == ("succeeded", 2)


def test_canceled_calibration_publishes_nothing(
    runner: Runner, calibrate: Calibrate, read: Read, database: Database, clock: FakeClock, digest: str
) -> None:
    job_id = calibrate()

    def cancel_after_claim(path: str) -> object:
        with database.write() as session:
            jobs.cancel(session, job_id, now=clock())
        return runner.registry.get(path)

    canceling = replace(runner, registry=type("Registry", (), {"get": staticmethod(cancel_after_claim)})())
    canceling.run(job_id)
    assert (read(job_id).status, read(job_id).artifacts) == ("canceled", [])
    with database.read() as session:
        assert calibrations.files(session, digest) == []


def test_lost_claim_records_nothing(
    runner: Runner, calibrate: Calibrate, database: Database, clock: FakeClock, digest: str
) -> None:
    with database.write() as session:
        claim = claims.claim(session, calibrate(), owner="slow", lease=timedelta(0), now=clock())
        assert claim
    clock.advance(1)
    runner.run(claim.job_id)
    with database.read() as session:
        assert calibrations.files(session, digest)
    with database.write() as session:
        assert not claims.succeed(session, claim, [], None, None, now=clock())


def test_other_worker_fetches_the_latest_calibration(
    runner: Runner, calibrate: Calibrate, tmp_path: Path, digest: str
) -> None:
    source, folder = PublishedCalibrations(runner.database, runner.blobs), tmp_path / "cache" / digest
    source.fetch(digest, folder)
    assert not folder.exists()
    runner.run(calibrate())
    source.fetch(digest, folder)
    assert content(folder) == "calibration.json with 4000 steps"
    assert (folder / PUBLISHED[0]).is_file()
    fetched = (folder / PUBLISHED[0]).stat()
    source.fetch(digest, folder)
    assert (folder / PUBLISHED[0]).stat() == fetched
    runner.run(calibrate(training_steps=5))
    source.fetch(digest, folder)
    assert content(folder) == "calibration.json with 5 steps"
    assert list(folder.parent.iterdir()) == [folder]


def test_damaged_calibration_is_not_fetched(runner: Runner, calibrate: Calibrate, tmp_path: Path, digest: str) -> None:
    runner.run(calibrate())
    (blob, *_) = [entry for entry in runner.blobs.each() if entry.size == len("calibration.json with 4000 steps")]
    Path(blob.location).write_text("calibration.json with 9999 steps")
    PublishedCalibrations(runner.database, runner.blobs).fetch(digest, tmp_path / "cache" / digest)
    assert list((tmp_path / "cache").iterdir()) == []


def test_calibration_belongs_to_the_content_of_the_model(
    runner: Runner, calibrate: Calibrate, database: Database, clock: FakeClock
) -> None:
    model = runner.registry.get("tiny")
    registered_files.register_model(database, "tiny", model.path, clock())
    runner.run(calibrate())
    with database.read() as session:
        revision = calibrations.current_revision(session, model)
        assert revision
        assert calibrations.of_model(session, "other-name", revision)
        assert calibrations.of_model(session, "tiny", "0" * 40) is None
    (model.path / WEIGHTS).write_bytes(b"other weights")
    with database.read() as session:
        assert calibrations.of_model(session, "tiny", calibrations.current_revision(session, model)) is None


def test_retention_keeps_the_current_calibration(
    runner: Runner, calibrate: Calibrate, database: Database, clock: FakeClock, read: Read, digest: str
) -> None:
    replaced, current = calibrate(), calibrate(training_steps=5)
    for job_id in (replaced, current):
        runner.run(job_id)
    clock.advance(3600 * 24 * 400)
    with database.write() as session:
        assert retention.delete_old_jobs(session, before=clock()) == 1
        files = {file.sha256 for file in calibrations.files(session, digest)}
        assert len(files) == len(PUBLISHED)
        assert gc.referenced_digests(session) == files
    assert read(current).artifacts
    with database.write() as session:
        registered_files.unregister_model(session, "tiny")
        assert retention.delete_old_jobs(session, before=clock()) == 1
        assert gc.referenced_digests(session) == set()
