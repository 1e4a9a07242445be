"""Plot a trace: heat maps of tokens by layers, one panel per kind of site, or bars for the blocks of an image backbone.

The figures are readable without colour: each cell shows its number, and is hatched if its interval includes zero.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from api_schemas.report import Estimate
from editor.io.atomic import write_bytes
from editor.io.plotting import create_figure, render_png
from editor.tracing.result import Trace, traced_block_sites, traced_text_sites
from editor.tracing.sites import BLOCK_KINDS, TEXT_KINDS, BlockSite, TextSite

KIND_LABELS = {
    "self_attention": "self-attention",
    "mlp": "MLP",
    "residual": "residual after the layer",
    "resnet": "resnet",
    "cross_attention": "cross-attention",
    "feed_forward": "feed-forward",
    "block": "block",
}
CELL_INCHES = (0.46, 0.27)
"""Width and height of a heat map's cell."""


@dataclass(frozen=True)
class Panel:
    """One encoder's sites of one kind."""

    title: str
    sites: list[TextSite]


def plot_trace(trace: Trace) -> Figure:
    """Plot a trace of text encoders or of an image backbone."""
    return plot_heat_maps(trace) if traced_text_sites(trace) else plot_bars(trace)


def write_figures(trace: Trace, folder: Path) -> list[Path]:
    """Write ``trace.svg`` and ``trace.png``; the same trace gives the same bytes."""
    figure = plot_trace(trace)
    paths = [folder / "trace.svg", folder / "trace.png"]
    write_bytes(paths[0], render_svg(figure))
    write_bytes(paths[1], render_png(figure))
    return paths


def render_svg(figure: Figure) -> bytes:
    """Render an SVG without dates and random identifiers."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "trace", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def make_panels(trace: Trace) -> list[Panel]:
    """Return one panel for each encoder and traced kind of site."""
    sites = traced_text_sites(trace)
    encoders = sorted({site.tower for site in sites})
    prefix = {encoder: f"encoder {encoder + 1}, " if len(encoders) > 1 else "" for encoder in encoders}
    panels = [
        Panel(prefix[encoder] + KIND_LABELS[kind], [s for s in sites if (s.tower, s.kind) == (encoder, kind)])
        for encoder in encoders
        for kind in TEXT_KINDS
    ]
    return [panel for panel in panels if panel.sites]


def plot_heat_maps(trace: Trace) -> Figure:
    """Plot panels side by side; rows are token groups in prompt order, columns are layers."""
    panels = make_panels(trace)
    groups = sorted({site.place for site in traced_text_sites(trace)})
    columns = sum(len({site.layer for site in panel.sites}) for panel in panels)
    figure = create_figure(
        1.8 + CELL_INCHES[0] * columns + 0.5 * len(panels), 1.3 + CELL_INCHES[1] * max(3, len(groups))
    )
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    top = max(1.0, *(effect.value for effect in trace.effects.values()))
    for axes, panel in zip(grid, panels, strict=True):
        plot_heat_map(axes, trace, panel, groups, top)
    grid[0].set_yticks(range(len(groups)), [group_label(trace, group) for group in groups], parse_math=False)
    figure.suptitle(figure_title(trace), fontsize=9, parse_math=False)
    return figure


def group_label(trace: Trace, group: int) -> str:
    """Return the label of a token group, with the number of prompts that have such tokens if not all have."""
    every = len(trace.restored_shares)
    count = max(trace.effects[site].n for site in traced_text_sites(trace) if site.place == group)
    return trace.spec.places[group] + (f" ({count} of {every})" if count < every else "")


def plot_heat_map(axes: Axes, trace: Trace, panel: Panel, groups: Sequence[int], top: float) -> None:
    """Plot one panel."""
    layers = sorted({site.layer for site in panel.sites})
    effects = np.full((len(groups), len(layers)), np.nan)
    for site in panel.sites:
        row, column, effect = groups.index(site.place), layers.index(site.layer), trace.effects[site]
        effects[row, column] = effect.value
        annotate_cell(axes, row, column, effect, dark=effect.value > 0.6 * top)
    axes.imshow(effects, cmap="Blues", vmin=0, vmax=top, aspect="auto")
    window = panel.sites[0].window
    axes.set_xticks(range(len(layers)), [str(layer) for layer in layers], fontsize=7)
    axes.set_xlabel("layer" if window == 1 else f"first of {window} layers", fontsize=8)
    axes.set_title(panel.title, fontsize=8)


def annotate_cell(axes: Axes, row: int, column: int, effect: Estimate, *, dark: bool) -> None:
    """Write a cell's effect in per cent, and hatch the cell if the interval includes zero."""
    colour = "white" if dark else "black"
    axes.text(column, row, f"{round(100 * effect.value)}", ha="center", va="center", fontsize=6.5, color=colour)
    if effect.low <= 0 <= effect.high:
        axes.add_patch(
            Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, hatch="////", linewidth=0, edgecolor="0.7")
        )


def plot_bars(trace: Trace) -> Figure:
    """Plot one panel per kind, its modules in the order of the forward pass, with intervals as error bars."""
    sites = traced_block_sites(trace)
    kinds = [kind for kind in BLOCK_KINDS if any(site.kind == kind for site in sites)]
    heights = [sum(site.kind == kind for site in sites) for kind in kinds]
    figure = create_figure(7.0, 1.0 + 0.2 * sum(heights) + 0.45 * len(kinds))
    grid = figure.subplots(len(kinds), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axes, kind in zip(grid, kinds, strict=True):
        plot_bar_panel(axes, trace, [site for site in sites if site.kind == kind])
        axes.set_title(KIND_LABELS[kind], fontsize=8)
    grid[-1].set_xlabel("restored share", fontsize=8)
    figure.suptitle(figure_title(trace), fontsize=9, parse_math=False)
    return figure


def plot_bar_panel(axes: Axes, trace: Trace, sites: Sequence[BlockSite]) -> None:
    """Plot one kind's modules from top to bottom."""
    effects, rows = [trace.effects[site] for site in sites], range(len(sites))
    values = [effect.value for effect in effects]
    errors = [[e.value - e.low for e in effects], [e.high - e.value for e in effects]]
    axes.barh(rows, values, xerr=errors, color="0.75", edgecolor="black", linewidth=0.5, error_kw={"linewidth": 0.8})
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_yticks(rows, [site.label for site in sites], fontsize=6)
    axes.tick_params(axis="x", labelsize=7)
    axes.invert_yaxis()


def figure_title(trace: Trace) -> str:
    """Return the figure's title."""
    spec = trace.spec
    number = len(spec.prompts)
    return (
        f"{spec.attribute} “{spec.concept}”: restored share of the score, %, {number} prompt{'s' * (number > 1)}\n"
        f"{spec.read_out}; {spec.corruption}; hatched: the interval holds zero"
    )
