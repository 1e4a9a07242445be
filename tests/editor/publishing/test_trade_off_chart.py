"""The chart of preservation weights is complete for every curve that a solve may have."""

from xml.etree import ElementTree

import pytest

from api_schemas.report import AuditReport, SolveRecord, TradeOffPoint
from editor.publishing.trade_off_chart import BOTTOM, TOP, PlotArea, trade_off_chart


def labels(svg: str) -> list[str]:
    return [str(element.text) for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")]


def with_curve(report: AuditReport, *points: tuple[float, float, float]) -> SolveRecord:
    tried = [
        TradeOffPoint(preservation=weight, removed=removed, retained=retained, predicted_retain_p95=0.1)
        for weight, removed, retained in points
    ]
    return report.solves[0].model_copy(update={"trade_off": tried, "preservation": points[0][0]})


def test_axes_and_legend_are_labelled(report: AuditReport) -> None:
    chart = trade_off_chart(with_curve(report, (2.0, 0.9, 0.8), (0.25, 0.95, 0.7), (1024.0, 0.1, 1.0)), 3)
    assert chart.name == "trade-off-3"
    shown = labels(chart.svg)
    assert {"1", "10", "100", "1000", "0.0", "1.0", "removed", "retained", "selected: 2"} <= set(shown)


def test_a_single_weight_is_drawn(report: AuditReport) -> None:
    assert "selected: 3" in labels(trade_off_chart(with_curve(report, (3.0, 0.9, 0.8)), 0).svg)


def test_shares_below_zero_are_inside_the_plot(report: AuditReport) -> None:
    assert "-0.4" in labels(trade_off_chart(with_curve(report, (1.0, -0.5, 0.8)), 0).svg)
    assert PlotArea(1.0, 2.0, -0.5).y(-0.5) == BOTTOM
    assert PlotArea(1.0, 2.0, -0.5).y(1.0) == TOP


@pytest.mark.parametrize("lowest", [0.0, -1.0, -30.0])
def test_grid_lines_are_few_and_include_zero(lowest: float) -> None:
    ticks = PlotArea(1.0, 2.0, lowest).share_ticks
    assert 0.0 in ticks
    assert 3 <= len(ticks) <= 12
