"""Attacks, detectors and feature scores in a job."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from api_schemas.edits import EditRequest
from editor import emoji, jobs
from editor.errors import AttackError
from editor.jobs.results import TraceResult
from editor.judging.policies import resolve_policy
from editor.publishing.limitations import list_untested

Make = Callable[[dict[str, Any]], jobs.JobContext]


@pytest.fixture
def context(tmp_path: Path) -> Make:
    def make(validation: dict[str, Any]) -> jobs.JobContext:
        removal = {"concept": "fox", "replacement": "dog face"}
        return jobs.JobContext(
            request=EditRequest.model_validate({"removals": [removal], "validation": validation}),
            model_dir=emoji.WEIGHTS,
            workdir=tmp_path / "work",
            cache_dir=tmp_path / "cache",
            progress=lambda phase, done, message: None,
            job_id="job",
            now=datetime(2026, 1, 1, tzinfo=UTC),
            delta_only=True,
        )

    return make


def test_an_unknown_attack_is_refused_before_any_work(context: Make) -> None:
    job = context({"attacks": {"plugins": {"nobody": {"enabled": True}}}})
    with pytest.raises(AttackError, match="nobody"):
        jobs.run_phase("trace", job)
    assert not list(job.workdir.rglob("*"))


def test_requested_attacks_are_reported_and_others_listed_as_untested(context: Make) -> None:
    small = {"seeds": 1, "steps": 2, "prompts": 4, "retain_prompts": 4, "budget": {"rounds": 0}}
    key = {"enabled": True, "budget": 20, "images": 2}
    job = context({**small, "attacks": {"adversarial_key": key}})
    erase, policy = jobs.EraseJob(job), resolve_policy(job.request.validation)
    erase.phases.run(
        "trace", TraceResult, lambda: TraceResult(policy=policy)
    )  # a trace would take time and change nothing
    found = erase.validate()
    assert [record.name for record in found.attacks] == ["adversarial_key"]
    assert found.attacks[0].rate.n == 2
    assert (found.detectors, found.features) == ([], None)
    told = " ".join(list_untested(job.request.validation))
    assert "resurgence" in told
    assert "adversarial keys" not in told
    assert "Features" in told


def test_no_attack_runs_without_validation(context: Make) -> None:
    request = context({"enabled": False}).request
    assert list_untested(request.validation) == [
        "Validation was turned off: no image was generated, no gate was evaluated, and no attack was run."
    ]
