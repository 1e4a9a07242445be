"""The closed loop on the embedded model, with few prompts and a preservation weight under which the concept remains."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from api_schemas.edits import EditRequest
from api_schemas.plans import PlanEstimate
from editor import jobs
from editor.emoji import WEIGHTS
from editor.jobs import validate_phase
from editor.jobs.refinement import limit_to_time
from editor.jobs.results import ValidationResult

LOOSE = {"target_accuracy": 0.5, "retain_drop": 0.9, "neighbour_drop": 0.9, "confidence": 0.5}
LOOSE |= {"destination_drop": 0.99, "other_removed_accuracy": 0.9, "styled_object_drop": 0.99}
LEAKING: dict[str, Any] = {
    "removals": [{"concept": "fox", "replacement": "bear"}],
    "options": {"preservation": 100_000},
    "validation": {
        "steps": 3,
        "prompts": 6,
        "retain_prompts": 4,
        "top_up": 1,
        "thresholds": LOOSE,
        "budget": {"rounds": 2},
    },
}


FinishedRun = tuple[ValidationResult, bytes, list[str]]
"""The result, the factors of the updates, and the messages of the progress."""


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module", autouse=True)
def _without_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validate_phase, "make_sample_sheets", lambda *_: [])
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def open_job(workdir: Path, cache: Path, progress: Callable[[str, float, str], None]) -> jobs.EraseJob:
    return jobs.EraseJob(
        jobs.JobContext(
            request=EditRequest.model_validate(LEAKING),
            model_dir=WEIGHTS,
            workdir=workdir,
            cache_dir=cache,
            progress=progress,
            job_id="edit_1",
            now=datetime(2026, 1, 2, tzinfo=UTC),
        )
    )


def run(workdir: Path, cache: Path, stop_at: str = "") -> FinishedRun:
    messages: list[str] = []

    def progress(phase: str, fraction: float, message: str) -> None:
        messages.append(message)
        if stop_at and message.startswith(stop_at):
            raise Killed

    job = open_job(workdir, cache, progress)
    return job.validate(), job.final_edit().factors, messages


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> FinishedRun:
    """A job that nothing stops."""
    return run(tmp_path_factory.mktemp("whole"), cache)


def test_job_that_is_killed_in_a_round_resumes_there_with_the_same_bytes(
    tmp_path: Path, cache: Path, finished_run: FinishedRun
) -> None:
    whole, factors, messages = finished_run
    assert whole.validation is not None
    assert whole.validation.refinement is not None
    rounds = whole.validation.refinement.rounds
    assert [one.number for one in rounds] == [*range(len(rounds))]
    assert len(rounds) > 1, "the edit leaks, so the loop changes it"
    assert rounds[0].changes == []
    assert all(one.changes for one in rounds[1:])
    published = whole.validation.refinement.published
    assert rounds[published].excess == min(one.excess for one in rounds)
    assert {message.split(":")[0] for message in messages if message.startswith("round")} >= {"round 0", "round 1"}

    with pytest.raises(Killed):
        run(tmp_path / "killed", cache, stop_at=f"round {len(rounds) - 1}:")
    finished = {path.stem for path in (tmp_path / "killed" / "phases").glob("round-*.json")}
    assert finished == {f"round-{number}" for number in range(len(rounds) - 1)}
    resumed, same_factors, _ = run(tmp_path / "killed", cache)
    assert same_factors == factors
    assert resumed.validation == whole.validation


@pytest.mark.parametrize(
    ("seconds", "job_seconds", "images"),
    [(None, None, 400), (50, None, 100), (50, 240, 80), (None, 150, 0), (None, 10_000, 400)],
)
def test_rounds_leave_time_for_the_first_and_the_final_validation(
    seconds: float | None, job_seconds: float | None, images: int
) -> None:
    assert limit_to_time(400, PlanEstimate(images=200, seconds=100), seconds, job_seconds) == images


def test_prompts_that_steer_are_not_in_the_final_validation(finished_run: FinishedRun) -> None:
    whole, _, _ = finished_run
    assert whole.validation is not None
    assert whole.validation.refinement is not None
    if whole.validation.refinement.published:
        assert min(whole.validation.sampler.seeds) >= 3_000_000
