"""Charts of what was measured on images: scores and gates with their intervals, attacks, forecast and outcome, traces."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle

from api_schemas.attacks import AttackRecord, Rate
from api_schemas.report import (
    AuditReport,
    Check,
    CollateralRecord,
    Estimate,
    RemovalRecord,
    SiteEffect,
    TraceRecord,
    Validation,
)
from editor.io.figures import Chart
from editor.io.plotting import chart_style, create_figure, render_svg
from editor.io.progress import checked
from editor.publishing import report_text
from editor.publishing.figure_names import trace_figure_name

GRID_COLOUR = "#8e8e93"
BEFORE_COLOUR, AFTER_COLOUR = "#8e8e93", "#2f7de1"
"""Readable on dark and light pages. The markers differ in shape too."""
THRESHOLD_COLOUR = "#d1453b"


RECOGNITION_CAPTION = (
    "How often the judge recognised what the prompt asks for. Grey squares: before the edit; blue dots: after it. Lines: "
    "confidence intervals."
)
ATTACKS_CAPTION = "How often an attack brought the concept back. Grey squares: base model; blue dots: edited model."
FORECAST_CAPTION = (
    "Prompts about retained concepts, in bands of the forecast. Grey squares: forecast share of prompts that lose what they "
    "ask for; blue dots: measured drop of the judge's accuracy."
)
GATES_CAPTION = "Measured values (dots) with their confidence intervals (lines), and the thresholds (red bars)."


@dataclass(frozen=True)
class IntervalMark:
    """A value and its confidence interval in a forest plot."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ForestRow:
    """A row of a forest plot; absent parts are left out."""

    label: str
    after: IntervalMark
    before: IntervalMark | None = None
    limit: float | None = None


def make_charts(report: AuditReport) -> list[Chart]:
    """Draw every chart that the report has measurements for."""
    traces = [
        trace_heatmap(trace, report.removals[trace.removal], edited_sites(report, trace))
        for trace in checked(report.traces)
    ]
    judged = validation_charts(report, report.validation) if report.validation else []
    tried = [attack_row(report, one, one.rate) for one in report.attacks if one.rate]
    attacked = [forest_plot("attacks", "share of attempts", ATTACKS_CAPTION, tried)] if tried else []
    foreseen = [forecast_chart(report.collateral)] if report.collateral else []
    return [*judged, *attacked, *foreseen, *traces]


def forecast_chart(record: CollateralRecord) -> Chart:
    """Draw the forecast and the measured drop of each band."""
    lines = [
        ForestRow(
            f"forecast {report_text.percent(band.lowest)} to {report_text.percent(band.highest)}",
            IntervalMark(*bounds(band.measured)),
            IntervalMark(band.foreseen, band.lowest, band.highest),
        )
        for band in record.bands
    ]
    return forest_plot("collateral", "share of prompts", FORECAST_CAPTION, lines)


def attack_row(report: AuditReport, one: AttackRecord, rate: Rate) -> ForestRow:
    """Return the success rate of an attack as a row, with the base model's if there is one."""
    before = IntervalMark(*bounds(one.rate_before)) if one.rate_before else None
    concept = report_text.truncate(report_text.concept_name(report, one.removal), 24)
    label = f"{concept}, {report_text.replace_underscores(one.name)}"
    return ForestRow(label, IntervalMark(*bounds(rate)), before)


def validation_charts(report: AuditReport, validation: Validation) -> list[Chart]:
    """Draw forest plots of the recognition rates and of the gates."""
    recognised = [
        ForestRow(
            report_text.group_label(report, group),
            IntervalMark(*bounds(group.accuracy_after)),
            IntervalMark(*bounds(group.accuracy_before)),
        )
        for group in validation.groups
    ]
    gates = [gate_row(report, check) for check in validation.checks]
    return [
        forest_plot("scores", "share of images", RECOGNITION_CAPTION, recognised),
        forest_plot("gates", "share, or drop of a share", GATES_CAPTION, gates),
    ]


def gate_row(report: AuditReport, check: Check) -> ForestRow:
    """Return a gate as a row: its measured value and its threshold."""
    concept = f" – {report_text.concept_name(report, check.removal)}" if check.removal is not None else ""
    label = f"{report_text.replace_underscores(check.name)}{concept}"
    return ForestRow(label, IntervalMark(*bounds(check.measured)), limit=check.threshold)


def bounds(found: Estimate | Rate) -> tuple[float, float, float]:
    """Return value, lower and upper bound."""
    return found.value, found.low, found.high


def forest_plot(name: str, axis: str, caption: str, lines: Sequence[ForestRow]) -> Chart:
    """Draw a forest plot: grey squares before the edit, blue dots after it, red bars for thresholds."""
    with chart_style():
        figure = create_figure(7.2, 0.7 + 0.34 * len(lines))
        axes = figure.subplots()
        for row, line in enumerate(lines):
            draw_row(axes, row, line)
        axes.set_yticks(range(len(lines)), [report_text.truncate(line.label, 46) for line in lines])
        for label in axes.get_yticklabels():
            label.set_parse_math(False)
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.set_xlabel(axis)
        strip_frame(axes)
        drawn = render_svg(figure, name)
    return Chart(name, drawn, caption, f"Forest plot with {len(lines)} rows. The table below lists all values.")


def draw_row(axes: Axes, row: int, line: ForestRow) -> None:
    """Draw one row of a forest plot."""
    if line.before:
        draw_mark(axes, row - 0.16, line.before, BEFORE_COLOUR, "s")
    draw_mark(axes, row + (0.16 if line.before else 0), line.after, AFTER_COLOUR, "o")
    if line.limit is not None:
        axes.plot([line.limit] * 2, [row - 0.34, row + 0.34], color=THRESHOLD_COLOUR, linewidth=2.5)


def draw_mark(axes: Axes, height: float, bar: IntervalMark, colour: str, marker: str) -> None:
    """Draw a value with its interval."""
    axes.plot([bar.low, bar.high], [height, height], color=colour, linewidth=1.8, solid_capstyle="butt")
    axes.plot([bar.value], [height], marker, color=colour, markersize=5)


def strip_frame(axes: Axes) -> None:
    """Remove the frame and add faint grid lines."""
    axes.grid(axis="x", color=GRID_COLOUR, alpha=0.35, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)


def edited_sites(report: AuditReport, trace: TraceRecord) -> list[str]:
    """Return the edited sites of the traced text encoder, as ``layer 0 self_attention``."""
    own = (solve for solve in report.solves if solve.component == trace.component)
    return [f"layer {solve.layer} {solve.sublayer}" for solve in own]


def trace_heatmap(trace: TraceRecord, removal: RemovalRecord, edited: Collection[str]) -> Chart:
    """Draw the share of the judge's score that each site restores; ``edited`` lists the edited sites, as ``layer 0 mlp``."""
    name = trace_figure_name(trace)
    with chart_style():
        drawn = render_svg(draw_heatmap(trace, edited), name)
    return Chart(
        name,
        drawn,
        f"Where the model computes “{removal.concept}”: the share of the judge's score that returns when a single site is "
        f"restored from the clean run. A frame marks the edited site.",
        f"Heat map of layers by kind of site. Largest effect: {trace.causal_site}. The table below lists all values.",
    )


def draw_heatmap(trace: TraceRecord, edited: Collection[str]) -> Canvas:
    """Draw the heat map, with a number in every cell."""
    layers = sorted({site.layer for site in trace.sites})
    top = max(1.0, *(site.effect.value for site in trace.sites))
    figure = create_figure(min(2.0 + 0.9 * len(layers), 9.0), 2.1)
    axes = figure.subplots()
    axes.pcolormesh(effect_matrix(trace, layers), cmap="Blues", vmin=0, vmax=top, edgecolors=GRID_COLOUR, linewidth=0.3)
    for site in trace.sites:
        write_effect(axes, site, layers.index(site.layer), dark=site.effect.value > 0.6 * top)
        if f"layer {site.layer} {site.kind}" in edited:
            outline_cell(axes, layers.index(site.layer), row(site))
    axes.set_xticks([column + 0.5 for column in range(len(layers))], [str(layer) for layer in layers])
    axes.set_yticks(
        [0.5 + kind for kind in range(len(report_text.SITE_LABELS))], list(report_text.SITE_LABELS.values())
    )
    axes.invert_yaxis()
    axes.set_xlabel("layer of the text encoder")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def effect_matrix(trace: TraceRecord, layers: Sequence[int]) -> np.ndarray:
    """Return the effects, ``(kinds, layers)``; NaN for sites that were not traced."""
    effects = np.full((len(report_text.SITE_LABELS), len(layers)), np.nan)
    for site in trace.sites:
        effects[row(site), layers.index(site.layer)] = site.effect.value
    return effects


def row(site: SiteEffect) -> int:
    """Return the heat map's row of a site."""
    return list(report_text.SITE_LABELS).index(site.kind)


def write_effect(axes: Axes, site: SiteEffect, column: int, *, dark: bool) -> None:
    """Write a cell's number, white on dark cells."""
    colour = "white" if dark else "black"
    axes.text(column + 0.5, row(site) + 0.5, f"{site.effect.value:.2f}", ha="center", va="center", color=colour)


def outline_cell(axes: Axes, column: int, row: int) -> None:
    """Draw a frame just inside a cell."""
    axes.add_patch(Rectangle((column + 0.04, row + 0.04), 0.92, 0.92, fill=False, linewidth=2.5, edgecolor="black"))
