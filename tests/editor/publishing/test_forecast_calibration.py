"""Calibration of the collateral forecast, for synthetic drops and for the embedded model."""

import pytest

from api_schemas.gates import Gate
from api_schemas.report import AuditReport, Validation
from editor.checkpoints import open_checkpoint
from editor.emoji import WEIGHTS
from editor.judging.gates import GateEvidence, make_check
from editor.methods.encoder_edit import edit_encoder
from editor.prompts import Concept, Destination, ResolvedRemoval, open_prompt_builders
from editor.publishing.charts import make_charts
from editor.publishing.forecast_calibration import calibrate, forecast_drops, measured_drops
from editor.publishing.html import render_html

PROMPTS = [f"prompt {number}" for number in range(40)]
FORESEEN = {prompt: number / 100 for number, prompt in enumerate(PROMPTS)}


@pytest.fixture
def validation(report: AuditReport) -> Validation:
    """The ten prompts with the worst forecasts lose their object, and half of them their style too."""
    assert report.validation
    falls = {"retain_object_drop": [0.0] * 30 + [1.0] * 10, "retain_style_drop": [0.0] * 35 + [1.0] * 5}
    checks = [
        make_check(GateEvidence(Gate(measure=name, threshold=0.03), values, True), "failed", name, None, 1, 40, 0.95)
        for name, values in falls.items()
    ]
    (retain,) = (group for group in report.validation.groups if group.group == "retain")
    groups = [retain.model_copy(update={"prompts": PROMPTS, "asks": asks}) for asks in ("object", "style")]
    return report.validation.model_copy(update={"groups": groups, "checks": checks})


def test_measured_drops_are_averaged_over_the_attributes_of_each_prompt(validation: Validation) -> None:
    found = measured_drops(validation)
    assert found.keys() == set(PROMPTS)
    assert [found[f"prompt {number}"] for number in (0, 30, 39)] == [0.0, 0.5, 1.0]


def test_bands_contain_equal_numbers_of_prompts_and_their_means(validation: Validation) -> None:
    record = calibrate(validation, FORESEEN)
    assert record
    assert record.prompts == 40
    assert record.foreseen == pytest.approx(0.195)
    assert record.measured.value == pytest.approx((5 * 0.5 + 5 * 1.0) / 40)
    assert [band.measured.n for band in record.bands] == [10] * 4
    assert [band.measured.value for band in record.bands] == [0.0, 0.0, 0.0, 0.75]
    assert [(band.lowest, band.highest) for band in record.bands] == [
        (0.0, 0.09),
        (0.1, 0.19),
        (0.2, 0.29),
        (0.3, 0.39),
    ]
    assert record.correlation.value > 0.7


def test_reversed_forecast_has_a_negative_correlation(validation: Validation) -> None:
    record = calibrate(validation, {prompt: 1 - drop for prompt, drop in FORESEEN.items()})
    assert record
    assert record.correlation.value < -0.7


def test_too_few_prompts_give_no_calibration(validation: Validation) -> None:
    assert calibrate(validation, dict(list(FORESEEN.items())[:7])) is None


def test_calibration_is_shown_in_the_report(report: AuditReport, validation: Validation) -> None:
    whole = report.model_copy(update={"collateral": calibrate(validation, FORESEEN)})
    page = render_html(whole, make_charts(whole))
    assert "20% of them would lose" in page
    assert "30% to 39%" in page
    assert "collateral" in [chart.name for chart in make_charts(whole)]


def test_forecast_of_the_embedded_model_separates_target_from_unrelated_prompts(validation: Validation) -> None:
    checkpoint, builders = open_checkpoint(WEIGHTS), open_prompt_builders(open_checkpoint(WEIGHTS))
    fox = ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement"))
    updates = [done.update for done in edit_encoder(checkpoint.encoders[0], builders[0], [fox])]
    prompts = ["a fox, noto", "a rocket, noto", *PROMPTS[2:]]
    groups = [group.model_copy(update={"prompts": prompts}) for group in validation.groups]
    drops = forecast_drops(
        checkpoint,
        builders,
        updates,
        validation.model_copy(update={"groups": groups}),
    )
    assert drops["a fox, noto"] > 0.5 > drops["a rocket, noto"]
