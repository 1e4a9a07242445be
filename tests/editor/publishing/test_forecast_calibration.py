"""Foreseen against measured: by hand for planted prompts, and for the embedded model's own."""

import pytest

from api_schemas.gates import Gate
from api_schemas.report import AuditReport, Validation
from editor.checkpoints import open_checkpoint
from editor.emoji import WEIGHTS
from editor.judging.gates import GateEvidence, make_check
from editor.methods.default import edit_encoder
from editor.prompts import Concept, Destination, ResolvedRemoval, open_prompt_builders
from editor.publishing.charts import make_charts
from editor.publishing.forecast_calibration import calibrate, forecast_drops, measured_drops
from editor.publishing.html import render_html

PROMPTS = [f"prompt {number}" for number in range(40)]
FORESEEN = {prompt: number / 100 for number, prompt in enumerate(PROMPTS)}


@pytest.fixture
def validation(report: AuditReport) -> Validation:
    """The ten prompts of which the worst was foreseen lose their object, and half of them their style too."""
    assert report.validation
    falls = {"retain_object_drop": [0.0] * 30 + [1.0] * 10, "retain_style_drop": [0.0] * 35 + [1.0] * 5}
    checks = [
        make_check(GateEvidence(Gate(measure=name, threshold=0.03), values, True), "failed", name, None, 1, 40, 0.95)
        for name, values in falls.items()
    ]
    (retain,) = (group for group in report.validation.groups if group.group == "retain")
    groups = [retain.model_copy(update={"prompts": PROMPTS, "asks": asks}) for asks in ("object", "style")]
    return report.validation.model_copy(update={"groups": groups, "checks": checks})


def test_falls_are_read_prompt_by_prompt_and_averaged_over_what_was_asked(validation: Validation) -> None:
    found = measured_drops(validation)
    assert found.keys() == set(PROMPTS)
    assert [found[f"prompt {number}"] for number in (0, 30, 39)] == [0.0, 0.5, 1.0]


def test_bands_hold_equally_many_prompts_and_their_means(validation: Validation) -> None:
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


def test_a_forecast_the_wrong_way_round_is_seen(validation: Validation) -> None:
    record = calibrate(validation, {prompt: 1 - told for prompt, told in FORESEEN.items()})
    assert record
    assert record.correlation.value < -0.7


def test_too_few_prompts_say_nothing(validation: Validation) -> None:
    assert calibrate(validation, dict(list(FORESEEN.items())[:7])) is None


def test_it_is_shown(report: AuditReport, validation: Validation) -> None:
    whole = report.model_copy(update={"collateral": calibrate(validation, FORESEEN)})
    page = render_html(whole, make_charts(whole))
    assert "20% of them would lose" in page
    assert "30% to 39%" in page
    assert "collateral" in [chart.name for chart in make_charts(whole)]


def test_the_embedded_models_forecasts_are_those_of_the_edit(validation: Validation) -> None:
    checkpoint, builders = open_checkpoint(WEIGHTS), open_prompt_builders(open_checkpoint(WEIGHTS))
    fox = ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement"))
    updates = [done.update for done in edit_encoder(checkpoint.encoders[0], builders[0], [fox])]
    prompts = ["a fox, noto", "a rocket, noto", *PROMPTS[2:]]
    groups = [group.model_copy(update={"prompts": prompts}) for group in validation.groups]
    told = forecast_drops(
        checkpoint,
        builders,
        updates,
        {update.name: 0 for update in updates},
        validation.model_copy(update={"groups": groups}),
    )
    assert told["a fox, noto"] > 0.5 > told["a rocket, noto"]
