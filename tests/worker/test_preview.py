"""A preview runs with the edit's published delta, publishes images once, and its prompt reaches neither logs nor manifest."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from api_schemas.previews import PreviewTask, Steering, StoredAutoencoder
from service.store import claims, gc, idempotency, jobs, retention
from service.store.database import Database
from service.store.idempotency import Reply, Scope
from service.store.jobs import NewJob
from service.store.orm import Event, Job
from tests.fakes.clock import FakeClock
from tests.fakes.previewer import PNG
from worker.runner import Runner

Read = Callable[[str], Job]
Preview = Callable[..., str]


@pytest.fixture
def edit(runner: Runner, submit: Callable[..., str], read: Read) -> Job:
    job_id = submit()
    runner.run(job_id)
    return read(job_id)


@pytest.fixture
def preview(database: Database, clock: FakeClock, edit: Job) -> Preview:
    delta = next(file for file in edit.artifacts if file.kind == "delta")

    def submit(prompt: str = "Ada Quokka", **changes: Any) -> str:
        values = {"delta_sha256": delta.sha256, **changes}
        task = PreviewTask(model="tiny", edit=edit.id, delta_size=delta.size, prompt=prompt, seeds=[7], **values)
        with database.write() as session:
            return jobs.create(session, NewJob(task, "key", kind="preview"), now=clock()).id

    return submit


def test_images_are_published(runner: Runner, preview: Preview, read: Read) -> None:
    job_id = preview()
    runner.run(job_id)
    job = read(job_id)
    assert (job.status, job.progress, job.verdict) == ("succeeded", 1.0, None)
    assert [row.name for row in job.artifacts] == ["7-before.png", "7-after.png", "manifest.json"]
    image = job.artifacts[0]
    assert b"".join(runner.blobs.open(image.sha256, 0, image.size)) == PNG
    assert not runner.settings.workdir(job_id).exists()


def test_prompt_is_neither_logged_nor_in_events_and_manifest(
    runner: Runner, preview: Preview, read: Read, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    published, crashed = preview(), preview("crash Quokka")
    runner.run(published)
    manifest = read(published).artifacts[-1]
    digest = read(published).request_digest
    content = b"".join(runner.blobs.open(manifest.sha256, 0, manifest.size)).decode()
    assert "Quokka" not in content
    assert digest not in content
    runner.run(crashed)
    assert read(crashed).status == "queued"
    assert "Quokka" not in caplog.text
    assert "RuntimeError" in caplog.text
    with database.read() as session:
        assert not any("Quokka" in event.message + str(event.data) for event in session.query(Event))


def test_damaged_delta_fails_the_preview(runner: Runner, preview: Preview, read: Read) -> None:
    job_id = preview(delta_sha256="0" * 64)
    runner.run(job_id)
    assert (read(job_id).status, read(job_id).artifacts) == ("failed", [])


def test_lost_claim_publishes_nothing(runner: Runner, preview: Preview, database: Database, clock: FakeClock) -> None:
    with database.write() as session:
        claim = claims.claim(session, preview(), owner="slow", lease=timedelta(0), now=clock())
        assert claim
    clock.advance(1)
    runner.run(claim.job_id)
    with database.write() as session:
        assert not claims.succeed(session, claim, [], None, None, now=clock())


def test_previews_and_edits_are_in_different_queues(
    runner: Runner, preview: Preview, submit: Callable[..., str], read: Read
) -> None:
    edit_id, job_id = submit(), preview()
    runner.run(job_id)
    assert (read(job_id).status, read(edit_id).status) == ("succeeded", "queued")


def test_ended_preview_is_deleted_with_its_prompt(
    runner: Runner, preview: Preview, database: Database, clock: FakeClock, edit: Job
) -> None:
    job_id, queued = preview(), preview()
    runner.run(job_id)
    parents = f"edits/{edit.id}", "models/tiny/autoencoders/object"
    scopes = [Scope("key", f"POST /v1/{parent}/previews", "k") for parent in parents]
    with database.write() as session:
        reply = Reply("f", 202, "Ada Quokka")
        idempotency.store_replies(session, dict.fromkeys(scopes, reply), now=clock())
        assert retention.delete_old_previews(session, before=clock()) == 0
    clock.advance(60)
    with database.write() as session:
        assert retention.delete_old_previews(session, before=clock()) == 1
        assert session.get(Job, job_id) is None
        assert session.get(Job, queued)
        assert session.get(Job, edit.id)
        assert idempotency.find_replies(session, scopes) == {}
        assert gc.referenced_digests(session) == {
            (file.overlay or {}).get("delta_sha256", file.sha256) for file in edit.artifacts
        }


def test_steered_features_use_the_published_autoencoder(
    runner: Runner, preview: Preview, edit: Job, read: Read
) -> None:
    stored = {"sha256": edit.artifacts[0].sha256, "size": edit.artifacts[0].size}
    autoencoder = {"module": "mid_block", "files": {"sae.json": stored, "sae.safetensors": stored}}
    steering = {"kind": "object", "latents": [3], "scale": 0.0}
    job_id = preview(
        steering=Steering.model_validate(steering), autoencoder=StoredAutoencoder.model_validate(autoencoder)
    )
    runner.run(job_id)
    job = read(job_id)
    assert (job.status, job.error) == ("succeeded", None)
    assert [row.name for row in job.artifacts][:2] == ["7-before.png", "7-after.png"]
