"""A calibration says images, time and memory before it generates anything, and is refused where they exceed a limit."""

from dataclasses import replace
from pathlib import Path

import pytest

from api_schemas.plans import PlanEstimate, describe_estimate
from editor.errors import CostError
from editor.jobs.calibration import CalibrationOptions, CalibrationRun
from editor.jobs.calibration_cost import check_calibration_limit, estimate_calibration, measure_training
from editor.jobs.cost_estimate import GenerationCost
from tests.editor.jobs.test_calibration import make_run

COST = GenerationCost(seconds_per_step=2.0, seconds_per_image=1.0, default_steps=10, memory=3_000_000_000)


@pytest.fixture
def run(tmp_path: Path) -> CalibrationRun:
    return make_run(tmp_path)


def test_estimate_counts_images_and_steps(run: CalibrationRun) -> None:
    estimate = estimate_calibration(run, COST)
    assert (estimate.images, estimate.memory) == (14 * 4, COST.memory)
    generating = 14 * 4 * (COST.seconds_per_image + run.sampler.steps * COST.seconds_per_step)
    assert generating < (estimate.seconds or 0)
    assert not run.folder.exists(), "nothing is stored"


def test_estimate_grows_with_the_training_steps(run: CalibrationRun) -> None:
    longer = replace(run, options=CalibrationOptions(training_steps=40_000))
    assert measure_training(longer, 32) > 20 * measure_training(run, 32)


def test_calibration_that_exceeds_the_limit_is_refused_with_numbers_that_fit(run: CalibrationRun) -> None:
    wanted = replace(run, options=CalibrationOptions(objects=100, images=8))
    estimate = PlanEstimate(images=800, seconds=1000.0, memory=1)
    check_calibration_limit(wanted, estimate, None)
    check_calibration_limit(wanted, estimate, 1000.0)
    with pytest.raises(CostError, match="800 images and take about 1000 s") as caught:
        check_calibration_limit(wanted, estimate, 500.0)
    assert caught.value.remedy == "Set objects to 50 or images to 4, or EXPUNGE_HARD_LIMIT_SECONDS to more."
    with pytest.raises(CostError) as caught:
        check_calibration_limit(wanted, estimate, 10.0)
    assert "steps and training_steps to 1% of what they are" in str(caught.value.remedy)


def test_cost_is_described_in_one_line() -> None:
    described = describe_estimate(PlanEstimate(images=512, seconds=95.2, memory=1_200_000_000))
    assert described == "up to 512 images, about 0:01:35, 1.2 GB of memory"
