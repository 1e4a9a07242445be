"""Charts of the report's own numbers: where the concept is made, what was weighed up, all figures with their intervals."""

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
    SiteKind,
    SolveRecord,
    TraceRecord,
    Validation,
)
from editor.io.plotting import INK, Chart, canvas, inked, svg
from editor.publishing import report_text

KINDS: dict[SiteKind, str] = {"self_attention": "self-attention", "mlp": "MLP"}
GRID = "#8e8e93"
BEFORE, AFTER = "#8e8e93", "#2f7de1"
"""Told apart by shape as well, and readable on dark and light."""
LIMIT = "#d1453b"


RECOGNISED = (
    "How often the judge recognised what was asked for. Grey squares: before the edit; blue dots: after it. Lines span the "
    "intervals."
)
ATTACKED = (
    "How often an attack brought the concept back. Grey squares: on the base model; blue dots: on the edited one."
)
FORESEEN = (
    "Prompts about what must stay, in bands of what was foreseen of them. Grey squares: the foreseen share that loses what "
    "it asks for; blue dots: how far the judge's accuracy really fell."
)
MEASURED = "What was measured (dots, with lines over their intervals), and the thresholds (red bars)."


@dataclass(frozen=True)
class Bar:
    """A figure with its interval on a line of a forest plot."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """A line of a forest plot; what there is of it is drawn."""

    label: str
    after: Bar
    before: Bar | None = None
    limit: float | None = None


def charts(report: AuditReport) -> list[Chart]:
    """All that the report's numbers make."""
    edited = [f"layer {solve.layer} self_attention" for solve in report.solves]
    traces = [trace_map(trace, report.removals[trace.removal], edited) for trace in report.traces]
    curves = [trade_off_curve(solve, index) for index, solve in enumerate(report.solves) if solve.trade_off]
    judged = scores_and_gates(report, report.validation) if report.validation else []
    tried = [attack_line(report, one, one.rate) for one in report.attacks if one.rate]
    attacked = [forest("attacks", "share of attempts", ATTACKED, tried)] if tried else []
    foreseen = [collateral_bands(report.collateral)] if report.collateral else []
    return [*judged, *attacked, *foreseen, *traces, *curves]


def collateral_bands(record: CollateralRecord) -> Chart:
    """Foreseen against measured, band by band."""
    lines = [
        Line(
            f"foreseen {report_text.percent(band.lowest)} to {report_text.percent(band.highest)}",
            Bar(*interval(band.measured)),
            Bar(band.foreseen, band.lowest, band.highest),
        )
        for band in record.bands
    ]
    return forest("collateral", "share of prompts", FORESEEN, lines)


def attack_line(report: AuditReport, one: AttackRecord, rate: Rate) -> Line:
    """An attack: how often it succeeded, and on the base model where that means something."""
    before = Bar(*interval(one.rate_before)) if one.rate_before else None
    label = f"{report_text.shorten(report_text.concept(report, one.removal), 24)}, {report_text.plain(one.name)}"
    return Line(label, Bar(*interval(rate)), before)


def scores_and_gates(report: AuditReport, validation: Validation) -> list[Chart]:
    """Forest plots of what the judge recognised, and of the gates."""
    recognised = [
        Line(
            report_text.group_label(report, group),
            Bar(*interval(group.accuracy_after)),
            Bar(*interval(group.accuracy_before)),
        )
        for group in validation.groups
    ]
    gates = [gate_line(report, check) for check in validation.checks]
    return [
        forest("scores", "share of pictures", RECOGNISED, recognised),
        forest("gates", "share, or fall of a share", MEASURED, gates),
    ]


def gate_line(report: AuditReport, check: Check) -> Line:
    """A gate: its figure and its threshold."""
    concept = f" – {report_text.concept(report, check.removal)}" if check.removal is not None else ""
    label = f"{report_text.check_name(check)}{concept}"
    return Line(label, Bar(*interval(check.measured)), limit=check.threshold)


def interval(found: Estimate | Rate) -> tuple[float, float, float]:
    """Value, low and high."""
    return found.value, found.low, found.high


def forest(name: str, axis: str, caption: str, lines: Sequence[Line]) -> Chart:
    """Lines with intervals under one another: grey squares before, blue dots after, red marks for thresholds."""
    with inked():
        figure = canvas(7.2, 0.7 + 0.34 * len(lines))
        axes = figure.subplots()
        for row, line in enumerate(lines):
            draw_line(axes, row, line)
        axes.set_yticks(range(len(lines)), [report_text.shorten(line.label, 46) for line in lines])
        for label in axes.get_yticklabels():
            label.set_parse_math(False)
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.set_xlabel(axis)
        bare(axes)
        drawn = svg(figure, name)
    return Chart(name, drawn, caption, f"Forest plot of {len(lines)} figures. The table below has all values.")


def draw_line(axes: Axes, row: int, line: Line) -> None:
    """One line of a forest plot."""
    if line.before:
        draw_bar(axes, row - 0.16, line.before, BEFORE, "s")
    draw_bar(axes, row + (0.16 if line.before else 0), line.after, AFTER, "o")
    if line.limit is not None:
        axes.plot([line.limit] * 2, [row - 0.34, row + 0.34], color=LIMIT, linewidth=2.5)


def draw_bar(axes: Axes, height: float, bar: Bar, colour: str, marker: str) -> None:
    """A figure with its interval."""
    axes.plot([bar.low, bar.high], [height, height], color=colour, linewidth=1.8, solid_capstyle="butt")
    axes.plot([bar.value], [height], marker, color=colour, markersize=5)


def bare(axes: Axes) -> None:
    """No frame, faint lines to read by."""
    axes.grid(axis="x", color=GRID, alpha=0.35, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)


def trace_map(trace: TraceRecord, removal: RemovalRecord, edited: Collection[str]) -> Chart:
    """The share of the judge's score that each site restores; ``edited`` names the edited ones, as ``layer 0 mlp``."""
    name = f"trace-{trace.removal}"
    with inked():
        drawn = svg(draw_trace(trace, edited), name)
    return Chart(
        name,
        drawn,
        f"Where “{removal.concept}” is made: the share of the judge's score that comes back when one site alone is put "
        f"back from the undisturbed run. A frame marks what was edited.",
        f"Heat map of layers by kind of site. Largest effect: {trace.causal_site}. The table below has all values.",
    )


def draw_trace(trace: TraceRecord, edited: Collection[str]) -> Canvas:
    """The heat map, a number in every cell."""
    layers = sorted({site.layer for site in trace.sites})
    top = max(1.0, *(site.effect.value for site in trace.sites))
    figure = canvas(min(2.0 + 0.9 * len(layers), 9.0), 2.1)
    axes = figure.subplots()
    axes.pcolormesh(grid(trace, layers), cmap="Blues", vmin=0, vmax=top, edgecolors=GRID, linewidth=0.3)
    for site in trace.sites:
        write_effect(axes, site, layers.index(site.layer), dark=site.effect.value > 0.6 * top)
        if f"layer {site.layer} {site.kind}" in edited:
            frame(axes, layers.index(site.layer), row(site))
    axes.set_xticks([column + 0.5 for column in range(len(layers))], [str(layer) for layer in layers])
    axes.set_yticks([0.5 + kind for kind in range(len(KINDS))], list(KINDS.values()))
    axes.invert_yaxis()
    axes.set_xlabel("layer of the text encoder")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def grid(trace: TraceRecord, layers: Sequence[int]) -> np.ndarray:
    """Effects as ``(kinds, layers)``; NaN where a site was not traced."""
    effects = np.full((len(KINDS), len(layers)), np.nan)
    for site in trace.sites:
        effects[row(site), layers.index(site.layer)] = site.effect.value
    return effects


def row(site: SiteEffect) -> int:
    """The heat map's row."""
    return list(KINDS).index(site.kind)


def write_effect(axes: Axes, site: SiteEffect, column: int, *, dark: bool) -> None:
    """A cell's number, white on dark cells."""
    colour = "white" if dark else "black"
    axes.text(column + 0.5, row(site) + 0.5, f"{site.effect.value:.2f}", ha="center", va="center", color=colour)


def frame(axes: Axes, column: int, row: int) -> None:
    """A frame just inside a cell."""
    axes.add_patch(Rectangle((column + 0.04, row + 0.04), 0.92, 0.92, fill=False, linewidth=2.5, edgecolor="black"))


def trade_off_curve(solve: SolveRecord, index: int) -> Chart:
    """How much is removed and how much retained over the preservation weights tried for the report's ``index``-th solve."""
    points = sorted(solve.trade_off, key=lambda point: point.preservation)
    weights, name = [point.preservation for point in points], f"trade-off-{index}"
    with inked():
        figure = canvas(6.5, 3.0)
        axes = figure.subplots()
        axes.plot(weights, [point.removed for point in points], "o-", color=INK, label="removed")
        axes.plot(weights, [point.retained for point in points], "s--", color=AFTER, label="retained")
        axes.axvline(solve.preservation, color=GRID, linestyle=":", label=f"chosen: {solve.preservation:.3g}")
        axes.set(xscale="log", xlabel="preservation weight", ylabel="share, on held-out prompts")
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.grid(color=GRID, alpha=0.35, linewidth=0.6)
        axes.legend(frameon=False)
        drawn = svg(figure, name)
    return Chart(
        name,
        drawn,
        "What the preservation weight costs and gains, measured on prompts that the edit did not see.",
        f"Two curves over the preservation weight; {solve.preservation:.3g} was chosen. All values are in the table.",
    )
