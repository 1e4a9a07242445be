"""The outcomes of a message: the job's row always records what happened."""

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from api_schemas.edits import EditRequest, Removal
from editor.io import digest_cache
from editor.publishing.filenames import MANIFEST
from service.store import claims, jobs, registered_files
from service.store import events as history
from service.store.blobs import ArtifactStore
from service.store.database import Database
from service.store.errors import LedgerMoved, StoreUnavailable
from service.store.jobs import NewJob
from service.store.orm import Job
from tests.fakes import editor
from tests.fakes.clock import FakeClock
from tests.fakes.model import WEIGHTS
from worker import db_retry, upload
from worker.runner import Runner
from worker.settings import WorkerSettings

Submit = Callable[..., str]
Read = Callable[[str], Job]


def blob_content(blobs: ArtifactStore, job: Job, name: str) -> bytes:
    (row,) = [row for row in job.artifacts if row.name == name]
    return b"".join(blobs.open(row.sha256, 0, row.size))


def test_run_publishes_the_job(runner: Runner, submit: Submit, read: Read, settings: WorkerSettings) -> None:
    job_id = submit()
    runner.run(job_id)
    job = read(job_id)
    assert (job.status, job.verdict, job.progress, job.phase) == ("succeeded", "passed", 1.0, "publish")
    names = [row.name for row in job.artifacts]
    assert names[0] == "delta.safetensors"
    assert names[-1] == MANIFEST
    assert not settings.workdir(job_id).exists()


def test_jobs_share_the_pipeline_unless_the_process_only_makes_dry_runs(
    runner: Runner, submit: Submit, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []
    real = editor.run_phase

    def run_phase(phase: str, context: editor.JobContext) -> None:
        real(phase, context)
        if phase == "edit":
            given.append(context.warm)

    monkeypatch.setattr(editor, "run_phase", run_phase)
    planner = replace(runner, settings=settings.model_copy(update={"queues": "plans"}))
    for one in (runner, runner, planner, planner):
        one.run(submit())
    assert given[0] is given[1] is runner.warm_pipelines
    assert len({id(store) for store in given[1:]}) == 3


def test_manifest_lists_every_file(runner: Runner, submit: Submit, read: Read) -> None:
    job_id = submit()
    runner.run(job_id)
    job = read(job_id)
    manifest = json.loads(blob_content(runner.blobs, job, MANIFEST))
    listed = {file["name"]: file["sha256"] for file in manifest["files"]}
    assert listed == {row.name: row.sha256 for row in job.artifacts if row.name != MANIFEST}
    assert job.manifest_sha256 == job.artifacts[-1].sha256


def test_phases_are_reported_in_order(runner: Runner, submit: Submit, database: Database) -> None:
    job_id = submit()
    runner.run(job_id)
    with database.read() as session:
        events = history.after(session, job_id, 0, 1000)
    assert [event.message for event in events if event.type == "phase"] == list(editor.PHASES)
    progress = [event.data["progress"] for event in events if "progress" in event.data]
    assert progress == sorted(progress)
    assert events[-1].data == {"status": "succeeded"}


def test_duplicate_message_is_ignored(runner: Runner, submit: Submit, read: Read) -> None:
    job_id = submit()
    runner.run(job_id)
    before = vars(read(job_id)) | {"_sa_instance_state": None}
    runner.run(job_id)
    after = vars(read(job_id)) | {"_sa_instance_state": None}
    assert {k: v for k, v in after.items() if k != "artifacts"} == {k: v for k, v in before.items() if k != "artifacts"}


def register_model(runner: Runner, clock: FakeClock) -> Path:
    """Register the model's folder and return it."""
    folder = runner.registry.get("tiny").path
    registered_files.register_model(runner.database, "tiny", folder, clock())
    return folder


def change_bytes(folder: Path) -> None:
    """Change two bytes, as a failing disk or an attacker would: the size stays."""
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[2:4] = b"XX"
    (folder / WEIGHTS).write_bytes(content)


def change_bytes_and_restore_the_time(folder: Path) -> None:
    times = (folder / WEIGHTS).stat()
    change_bytes(folder)
    os.utime(folder / WEIGHTS, ns=(times.st_atime_ns, times.st_mtime_ns))


def add_file(folder: Path) -> None:
    (folder / "text_encoder" / "model.fp16.safetensors").write_bytes(b"others")


def remove_file(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


@pytest.mark.parametrize("change", [change_bytes, change_bytes_and_restore_the_time, add_file, remove_file])
def test_changed_base_model_is_refused(
    runner: Runner, submit: Submit, read: Read, clock: FakeClock, change: Callable[[Path], None]
) -> None:
    folder = register_model(runner, clock)
    change(folder)
    job_id = submit()
    runner.run(job_id)
    job = read(job_id)
    assert (job.status, job.artifacts, job.phase) == ("failed", [], None)
    assert job.error
    assert (job.error["code"], job.error["param"]) == ("registered_model_changed", "model")
    assert "text_encoder/model" in job.error["message"]


def test_changed_base_model_can_be_registered_again(
    runner: Runner, submit: Submit, read: Read, clock: FakeClock
) -> None:
    change_bytes(register_model(runner, clock))
    register_model(runner, clock)
    job_id = submit()
    runner.run(job_id)
    assert read(job_id).status == "succeeded"


def test_manifest_has_no_digest_of_withheld_names(
    runner: Runner, database: Database, read: Read, clock: FakeClock
) -> None:
    digests = []
    for withhold in (False, True):
        request = EditRequest(model="tiny", removals=[Removal(concept="fox")], withhold_names=withhold)
        with database.write() as session:
            job_id = jobs.create(session, NewJob(request, "key"), now=clock()).id
        runner.run(job_id)
        manifest = blob_content(runner.blobs, read(job_id), MANIFEST)
        digests.append(json.loads(manifest).get("request_digest"))
        assert withhold != (request.digest().encode() in manifest)
    assert digests[0]
    assert digests[1] is None


def test_registered_model_with_new_times_is_hashed_once(
    runner: Runner, submit: Submit, read: Read, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, hashed = register_model(runner, clock), list[Path]()
    real = digest_cache.file_digest
    monkeypatch.setattr(digest_cache, "file_digest", lambda path: hashed.append(path) or real(path))
    monkeypatch.setattr(digest_cache, "SETTLED_SECONDS", 0.0)
    for _ in range(2):
        job_id = submit()
        runner.run(job_id)
        assert read(job_id).status == "succeeded"
    os.utime(folder / WEIGHTS, ns=(1, 1))
    for _ in range(2):
        job_id = submit()
        runner.run(job_id)
        assert read(job_id).status == "succeeded"
    assert hashed.count(folder / WEIGHTS) == 2


def test_message_for_an_unknown_job_is_ignored(runner: Runner) -> None:
    runner.run("edit_unknown")


def test_second_attempt_resumes_at_the_failed_phase(
    runner: Runner, submit: Submit, read: Read, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit()
    real = editor.run_phase

    def die_in_validate(phase: str, context: editor.JobContext) -> None:
        if phase == "validate":
            raise KeyboardInterrupt
        real(phase, context)

    monkeypatch.setattr(editor, "run_phase", die_in_validate)
    with pytest.raises(KeyboardInterrupt):
        runner.run(job_id)
    monkeypatch.setattr(editor, "run_phase", real)
    clock.advance(31)
    runner.run(job_id)
    job = read(job_id)
    assert (job.status, job.attempt) == ("succeeded", 2)
    assert blob_content(runner.blobs, job, "runs.txt").split() == [b"trace", b"edit", b"validate", b"publish"]


def test_editor_error_fails_the_job(runner: Runner, submit: Submit, read: Read) -> None:
    job_id = submit(refuse="edit")
    runner.run(job_id)
    job = read(job_id)
    assert (job.status, job.attempt) == ("failed", 1)
    assert job.error == {
        "code": "concept_unusable",
        "message": "the concept is out of reach. Try another.",
        "param": "removals[0].concept",
        "phase": "edit",
        "retryable": False,
    }


def test_missing_model_fails_the_job(runner: Runner, submit: Submit, read: Read, tmp_path: Path) -> None:
    job_id = submit()
    (tmp_path / "models" / "tiny" / "model_index.json").unlink()
    runner.run(job_id)
    error = read(job_id).error
    assert error
    assert (error["code"], error["param"]) == ("unknown_model", "model")


def test_crash_is_retried_and_then_reported(
    runner: Runner, submit: Submit, read: Read, settings: WorkerSettings
) -> None:
    job_id = submit(crash="validate")
    for attempt in range(1, jobs.MAX_ATTEMPTS):
        runner.run(job_id)
        assert (read(job_id).status, read(job_id).attempt) == ("queued", attempt)
    runner.run(job_id)
    job = read(job_id)
    assert job.status == "failed"
    assert job.error
    assert (job.error["code"], job.error["retryable"], job.error["phase"]) == ("internal_error", True, "validate")
    assert "a bug" not in job.error["message"]
    assert not settings.workdir(job_id).exists()


def test_crash_of_a_job_that_withholds_names_is_logged_without_its_message(
    runner: Runner, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    request = EditRequest(
        model="tiny", removals=[Removal(concept="quillwort")], metadata={"crash": "edit"}, withhold_names=True
    )
    with database.write() as session:
        job_id = jobs.create(session, NewJob(request, "key"), now=runner.clock()).id
    runner.run(job_id)
    assert "RuntimeError" in caplog.text
    assert "run_phase" in caplog.text
    assert "quillwort" not in caplog.text


def test_import_error_is_reported_as_a_crash(runner: Runner, submit: Submit, read: Read) -> None:
    job_id = submit()
    broken = replace(runner, settings=runner.settings.model_copy(update={"editor": "not_installed"}))
    for _ in range(jobs.MAX_ATTEMPTS):
        broken.run(job_id)
    job = read(job_id)
    assert job.status == "failed"
    assert job.error
    assert "ModuleNotFoundError" in job.error["message"]


def steal_lease(database: Database, clock: FakeClock, job_id: str) -> None:
    """Let the lease expire and another worker claim the job, before a heartbeat."""
    with database.write() as session:
        session.connection()  # Takes the write lock, so that no heartbeat sees the new time first.
        assert claims.claim(session, job_id, owner="two", lease=timedelta(seconds=30), now=clock.advance(31))


def run_until(runner: Runner, job_id: str, reached: Callable[[], bool], then: Callable[[], None]) -> None:
    """Run the job in a thread, call `then` once `reached` is true, and wait for the end."""
    thread = threading.Thread(target=runner.run, args=[job_id])
    thread.start()
    while not reached():
        assert thread.is_alive()
    then()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("phase", editor.PHASES)
def test_cancellation_stops_every_phase(
    runner: Runner, submit: Submit, read: Read, database: Database, clock: FakeClock, phase: str
) -> None:
    job_id = submit(slow="0.4")

    def cancel() -> None:
        with database.write() as session:
            jobs.cancel(session, job_id, now=clock())

    run_until(runner, job_id, lambda: read(job_id).phase == phase, cancel)
    job = read(job_id)
    assert (job.status, job.artifacts) == ("canceled", [])


def test_worker_with_a_lost_lease_publishes_nothing(
    runner: Runner, submit: Submit, read: Read, database: Database, clock: FakeClock
) -> None:
    job_id = submit(slow="0.4")

    run_until(runner, job_id, lambda: read(job_id).phase == "validate", lambda: steal_lease(database, clock, job_id))
    job = read(job_id)
    assert (job.status, job.lease_owner, job.artifacts) == ("running", "two", [])


def test_late_result_is_discarded(
    runner: Runner, submit: Submit, read: Read, database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is lost after the last check and before the last write, so only the fence can detect it."""
    job_id = submit()
    put = upload.store_artifacts

    def store_then_steal(*arguments: object) -> object:
        stored = put(*arguments)  # type: ignore[arg-type]
        steal_lease(database, clock, job_id)
        return stored

    monkeypatch.setattr(upload, "store_artifacts", store_then_steal)
    runner.run(job_id)
    job = read(job_id)
    assert (job.status, job.lease_owner, job.artifacts) == ("running", "two", [])


def test_full_weights_are_published_as_an_overlay(runner: Runner, submit: Submit, read: Read, tmp_path: Path) -> None:
    job_id = submit()
    runner.run(job_id)
    (row,) = [row for row in read(job_id).artifacts if row.name == WEIGHTS]
    stored = {path.name for path in (tmp_path / "blobs").rglob("*") if path.is_file()}
    assert row.overlay
    assert row.sha256 not in stored
    assert {row.overlay["delta_sha256"], job_delta(read(job_id))} < stored


def job_delta(job: Job) -> str:
    return next(row.sha256 for row in job.artifacts if row.name == "delta.safetensors")


def test_unavailable_database_is_retried(
    runner: Runner, submit: Submit, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the claim and at the end: each write succeeds at the third attempt."""
    job_id, tries = submit(), list[str]()
    for name in ("claim", "succeed"):
        real = getattr(claims, name)

        def away_twice(
            *arguments: object, name: str = name, real: Callable[..., object] = real, **options: object
        ) -> object:
            tries.append(name)
            if tries.count(name) < 3:
                raise OperationalError("UPDATE jobs", {}, OSError("gone"))
            return real(*arguments, **options)

        monkeypatch.setattr(claims, name, away_twice)
    monkeypatch.setattr(db_retry, "RETRY_DELAYS_SECONDS", (0.0, 0.0))
    runner.run(job_id)
    assert (read(job_id).status, read(job_id).attempt) == ("succeeded", 1)
    assert tries == ["claim"] * 3 + ["succeed"] * 3


def test_requeueing_an_overtaken_job_is_retried(
    runner: Runner, submit: Submit, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, tries, release = submit(), list[str](), claims.release

    def overtaken(*arguments: object) -> object:
        raise LedgerMoved("overtaken")

    def away_once(*arguments: object, **options: object) -> object:
        tries.append("release")
        if len(tries) == 1:
            raise OperationalError("UPDATE jobs", {}, OSError("gone"))
        return release(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(upload, "store_artifacts", overtaken)
    monkeypatch.setattr(claims, "release", away_once)
    monkeypatch.setattr(db_retry, "RETRY_DELAYS_SECONDS", (0.0,))
    runner.run(job_id)
    assert (read(job_id).status, read(job_id).attempt, len(tries)) == ("queued", 0, 2)


def test_files_are_not_stored_after_a_cancellation(
    runner: Runner, submit: Submit, read: Read, database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, stored, put = submit(), list[object](), upload._store_file

    def cancel_then_put(blobs: ArtifactStore, file: Any) -> object:
        stored.append(file)
        with database.write() as session:
            jobs.cancel(session, job_id, now=clock())
        time.sleep(0.1)  # a heartbeat
        return put(blobs, file)

    monkeypatch.setattr(upload, "_store_file", cancel_then_put)
    settings = runner.settings.model_copy(update={"cancel_grace_seconds": 5.0})
    replace(runner, settings=settings).run(job_id)
    assert (read(job_id).status, len(stored)) == ("canceled", 1)


def test_lasting_database_failure_leaves_the_job_to_its_lease(
    runner: Runner, submit: Submit, read: Read, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit()
    real = claims.succeed

    def unavailable(*_: object, **__: object) -> bool:
        raise OperationalError("UPDATE jobs", {}, OSError("gone"))

    monkeypatch.setattr(db_retry, "RETRY_DELAYS_SECONDS", ())
    with monkeypatch.context() as broken:
        broken.setattr(claims, "succeed", unavailable)
        broken.setattr(claims, "release", unavailable)
        with pytest.raises(StoreUnavailable):
            runner.run(job_id)
    assert read(job_id).status == "running"
    monkeypatch.setattr(claims, "succeed", real)
    clock.advance(31)
    runner.run(job_id)
    assert (read(job_id).status, read(job_id).attempt) == ("succeeded", 2)
