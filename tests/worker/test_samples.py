"""Images of a running validation: thumbnails of the newest ones, at an interval, and none of jobs that withhold names."""

import io
import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from api_schemas.edits import EditRequest, Removal
from api_schemas.samples import MAX_SAMPLES
from editor.generation.generated_pairs import GeneratedPair
from service.store import events, jobs, samples
from service.store.database import Database
from service.store.jobs import NewJob
from service.store.samples import NewSample
from tests.fakes import editor
from tests.fakes.clock import FakeClock
from worker.runner import Runner
from worker.samples import MAX_SIDE, SampleRecorder

Submit = Callable[..., str]


def make_pair(seed: int, side: int = 512) -> GeneratedPair:
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    return GeneratedPair("a fox", seed, noise, noise[::-1])


@pytest.fixture
def seen(runner: Runner, database: Database, monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[int, str, bytes]]]:
    """The samples of each job when its validation ends."""
    found = []
    real = editor.run_phase

    def run_phase(phase: str, context: editor.JobContext) -> None:
        real(phase, context)
        if phase == "validate":
            with database.read() as session:
                rows = samples.newest_first(session, context.job_id)
                found.append([(row.number, row.prompt, row.before) for row in rows])

    monkeypatch.setattr(editor, "run_phase", run_phase)
    return found


def test_newest_images_are_stored_until_the_job_ends(
    runner: Runner, submit: Submit, database: Database, seen: list[list[tuple[int, str, bytes]]]
) -> None:
    job_id = submit()
    runner.run(job_id)
    ((newest, *others),) = seen
    assert newest[:2] == (editor.STEPS, "a photo of fox")
    assert len(others) == MAX_SAMPLES - 1
    image = Image.open(io.BytesIO(newest[2]))
    assert (image.format, image.size) == ("WEBP", (64, 64))
    with database.read() as session:
        assert samples.newest_first(session, job_id) == []
        history = events.after(session, job_id, 0, 1000)
    announced = [event for event in history if "samples" in event.data]
    assert len(announced) == editor.STEPS
    assert {event.data["phase"] for event in announced} == {"validate"}
    assert not any("fox" in event.message + str(event.data) for event in history)


def test_job_that_withholds_names_stores_none(
    runner: Runner, database: Database, clock: FakeClock, seen: list[list[tuple[int, str, bytes]]]
) -> None:
    request = EditRequest(model="tiny", removals=[Removal(concept="fox")], withhold_names=True)
    with database.write() as session:
        job_id = jobs.create(session, NewJob(request, "key"), now=clock()).id
    runner.run(job_id)
    assert seen == [[]]


def test_images_are_stored_at_an_interval() -> None:
    stored: list[list[int]] = []
    recorder = SampleRecorder(lambda new: stored.append([one.seed for one in new]), 0.2)
    recorder([make_pair(seed, 8) for seed in range(6)])
    recorder([make_pair(6, 8)])
    recorder([])
    time.sleep(0.2)
    recorder([make_pair(7, 8)])
    assert stored == [[2, 3, 4, 5], [6, 7]]


def test_samples_are_small_whatever_the_images_are() -> None:
    """Noise is the worst case. The figures are the promise of the documentation."""
    stored: list[NewSample] = []
    recorder = SampleRecorder(stored.extend, 0.0)
    start = time.process_time()
    recorder([make_pair(seed, 1024) for seed in range(MAX_SAMPLES)])
    spent = time.process_time() - start
    sizes = [len(image or b"") for one in stored for image in (one.before, one.after)]
    assert {Image.open(io.BytesIO(one.before)).size for one in stored} == {(MAX_SIDE, MAX_SIDE)}
    assert max(sizes) < 32_000
    assert spent < 1.0
