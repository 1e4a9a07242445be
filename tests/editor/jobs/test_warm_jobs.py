"""Two jobs on one base model in one process: the second loads nothing, and its results are those of a new process."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api_schemas.edits import EditRequest
from editor import jobs
from editor.generation import pipelines
from editor.generation.warm_pipelines import WarmPipelines
from editor.jobs.model import open_model
from editor.jobs.results import TraceResult
from editor.judging.policies import resolve_policy
from tests.editor.jobs.test_families import REQUEST, make_context, small_job

__all__ = ["small_job"]

TRAINING = {"enabled": True, "budget": 2, "images": 2}


def validate(context: jobs.JobContext, folder: Path, **validation: Any) -> tuple[str, list[bytes]]:
    """Edit and validate in new folders, by a job for each phase as a worker does. Return its result and its images."""
    request = EditRequest.model_validate(REQUEST | {"validation": REQUEST["validation"] | validation})
    fresh = replace(context, request=request, workdir=folder / "work", cache_dir=folder / "cache")
    job = jobs.EraseJob(fresh)
    found = TraceResult(policy=resolve_policy(request.validation), estimate=job.estimate())
    job.phases.run("trace", TraceResult, lambda: found)  # a trace would take time and change nothing
    jobs.run_phase("edit", fresh)
    result = jobs.EraseJob(fresh).validate()
    return result.model_dump_json(), [path.read_bytes() for path in sorted(folder.rglob("*.png"))]


def test_second_job_loads_nothing_after_attacks_that_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Path] = []
    real = pipelines.load_pipeline
    monkeypatch.setattr(pipelines, "load_pipeline", lambda path, **options: loads.append(path) or real(path, **options))
    context = make_context("stable-diffusion-1", tmp_path)
    attacks = {
        "resurgence": TRAINING,
        "inversion_images": TRAINING,
        "inversion_text": TRAINING,
    }
    validate(context, tmp_path / "first", attacks=attacks)
    assert len(loads) == 1, "the estimate and the validation share the pipeline"
    second = validate(context, tmp_path / "second")
    assert len(loads) == 1
    assert second == validate(replace(context, warm=WarmPipelines()), tmp_path / "alone")
    assert second[1], "images were compared"


def test_opened_model_is_kept_until_a_file_changes(tmp_path: Path) -> None:
    folder = make_context("stable-diffusion-1", tmp_path).model_dir
    first = open_model(folder)
    assert open_model(folder).checkpoint is first.checkpoint
    (folder / "tokenizer" / "tokenizer_config.json").touch()
    assert open_model(folder).checkpoint is not first.checkpoint
