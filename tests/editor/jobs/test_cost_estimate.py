"""The cost of a validation is measured, and a validation that would take too long is refused with numbers that fit."""

from typing import Any

import pytest

from api_schemas.edits import Validation
from editor.errors import CostError
from editor.generation.config import Sampler
from editor.jobs import cost_estimate
from editor.jobs.cost_estimate import GenerationCost, check_time_limit, make_estimate, measure_cost

COST = GenerationCost(seconds_per_step=0.5, seconds_per_image=2.0, default_steps=30, memory=3_000_000_000)
OPTIONS = Validation(seeds=4, prompts=20, retain_prompts=40, steps=20)


def test_estimate_counts_steps_and_images() -> None:
    estimate = make_estimate(100, OPTIONS, COST)
    assert (estimate.images, estimate.seconds, estimate.memory) == (100, 1200.0, 3_000_000_000)
    assert make_estimate(100, OPTIONS.model_copy(update={"steps": None}), COST).seconds == 1700.0


def test_validation_that_fits_the_limit_is_accepted() -> None:
    check_time_limit(100, OPTIONS, COST, None)
    check_time_limit(100, OPTIONS, COST, 1200.0)


def test_validation_that_exceeds_the_limit_is_refused_with_options_that_fit() -> None:
    with pytest.raises(CostError, match="100 images in about 1200 s") as caught:
        check_time_limit(100, OPTIONS, COST, 600.0)
    assert caught.value.field == "validation.prompts"
    assert caught.value.remedy == (
        "Set validation.prompts to 10 and validation.retain_prompts to 20 or validation.seeds to 2 or "
        "validation.top_up to 1 or validation.steps to 8."
    )
    for fitting, images in (({"steps": 8}, 100), ({"seeds": 2}, 50), ({"prompts": 10, "retain_prompts": 20}, 50)):
        check_time_limit(images, OPTIONS.model_copy(update=fitting), COST, 600.0)


def test_cost_is_measured_from_the_time_of_one_and_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def generate(pipeline: object, sampler: Sampler, specs: list[Any]) -> None:
        now[0] += len(specs) * COST.seconds(1, sampler.steps)

    monkeypatch.setattr(cost_estimate, "generate_images", generate)
    monkeypatch.setattr("editor.jobs.cost_estimate.time.perf_counter", lambda: now[0])
    cost = measure_cost(None, Sampler(20, 3.0))
    assert cost.seconds_per_step == pytest.approx(COST.seconds_per_step)
    assert cost.seconds_per_image == pytest.approx(COST.seconds_per_image)
    assert cost.default_steps == 20
    assert cost.memory > 0
