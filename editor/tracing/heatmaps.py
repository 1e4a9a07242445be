"""A trace as heat maps: tokens by layers, one panel for each kind; blocks of an image backbone as bars.

Readable without colour: every cell has its number, and is hatched where its interval holds zero.
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
from editor.io.plotting import canvas, png
from editor.tracing.result import Trace, blocks_only, text_only
from editor.tracing.sites import BLOCK_KINDS, TEXT_KINDS, BlockSite, TextSite

NAMES = {
    "self_attention": "self-attention",
    "mlp": "MLP",
    "residual": "residual after the layer",
    "resnet": "resnet",
    "cross_attention": "cross-attention",
    "feed_forward": "feed-forward",
    "block": "block",
}
CELL = (0.46, 0.27)
"""Of a heat map, in inches."""


@dataclass(frozen=True)
class Panel:
    """One encoder's sites of one kind."""

    title: str
    sites: list[TextSite]


def draw(trace: Trace) -> Figure:
    """The figure for a trace of text encoders or of an image backbone."""
    return heat_maps(trace) if text_only(trace) else bars(trace)


def write(trace: Trace, folder: Path) -> list[Path]:
    """Write ``trace.svg`` and ``trace.png``; the same trace gives the same bytes."""
    figure = draw(trace)
    paths = [folder / "trace.svg", folder / "trace.png"]
    write_bytes(paths[0], svg(figure))
    write_bytes(paths[1], png(figure))
    return paths


def svg(figure: Figure) -> bytes:
    """Rendered without dates and with fixed names inside."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "trace", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def panels(trace: Trace) -> list[Panel]:
    """For each encoder, one panel a kind, but for kinds that were not traced."""
    sites = text_only(trace)
    towers = sorted({site.tower for site in sites})
    prefix = {tower: f"encoder {tower + 1}, " if len(towers) > 1 else "" for tower in towers}
    wanted = [
        (prefix[t] + NAMES[k], [s for s in sites if (s.tower, s.kind) == (t, k)]) for t in towers for k in TEXT_KINDS
    ]
    return [Panel(title, own) for title, own in wanted if own]


def heat_maps(trace: Trace) -> Figure:
    """Panels side by side; rows are places from the first to the last, columns are layers."""
    drawn = panels(trace)
    places = sorted({site.place for site in text_only(trace)})
    columns = sum(len({site.layer for site in panel.sites}) for panel in drawn)
    figure = canvas(1.8 + CELL[0] * columns + 0.5 * len(drawn), 1.3 + CELL[1] * max(3, len(places)))
    grid = figure.subplots(1, len(drawn), squeeze=False, sharey=True)[0]
    top = max(1.0, *(effect.value for effect in trace.effects.values()))
    for axes, panel in zip(grid, drawn, strict=True):
        heat_map(axes, trace, panel, places, top)
    grid[0].set_yticks(range(len(places)), [trace.question.places[place] for place in places], parse_math=False)
    figure.suptitle(title(trace), fontsize=9, parse_math=False)
    return figure


def heat_map(axes: Axes, trace: Trace, panel: Panel, places: Sequence[int], top: float) -> None:
    """One panel."""
    layers = sorted({site.layer for site in panel.sites})
    effects = np.full((len(places), len(layers)), np.nan)
    for site in panel.sites:
        row, column, effect = places.index(site.place), layers.index(site.layer), trace.effects[site]
        effects[row, column] = effect.value
        cell(axes, row, column, effect, dark=effect.value > 0.6 * top)
    axes.imshow(effects, cmap="Blues", vmin=0, vmax=top, aspect="auto")
    window = panel.sites[0].window
    axes.set_xticks(range(len(layers)), [str(layer) for layer in layers], fontsize=7)
    axes.set_xlabel("layer" if window == 1 else f"first of {window} layers", fontsize=8)
    axes.set_title(panel.title, fontsize=8)


def cell(axes: Axes, row: int, column: int, effect: Estimate, *, dark: bool) -> None:
    """A cell's number in per cent; hatched where the interval holds zero."""
    colour = "white" if dark else "black"
    axes.text(column, row, f"{round(100 * effect.value)}", ha="center", va="center", fontsize=6.5, color=colour)
    if effect.low <= 0 <= effect.high:
        axes.add_patch(
            Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, hatch="////", linewidth=0, edgecolor="0.7")
        )


def bars(trace: Trace) -> Figure:
    """One panel a kind; modules in the order of the forward pass, intervals as whiskers."""
    sites = blocks_only(trace)
    kinds = [kind for kind in BLOCK_KINDS if any(site.kind == kind for site in sites)]
    heights = [sum(site.kind == kind for site in sites) for kind in kinds]
    figure = canvas(7.0, 1.0 + 0.2 * sum(heights) + 0.45 * len(kinds))
    grid = figure.subplots(len(kinds), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axes, kind in zip(grid, kinds, strict=True):
        bar_panel(axes, trace, [site for site in sites if site.kind == kind])
        axes.set_title(NAMES[kind], fontsize=8)
    grid[-1].set_xlabel("restored share", fontsize=8)
    figure.suptitle(title(trace), fontsize=9, parse_math=False)
    return figure


def bar_panel(axes: Axes, trace: Trace, sites: Sequence[BlockSite]) -> None:
    """A kind's modules from top to bottom."""
    effects, rows = [trace.effects[site] for site in sites], range(len(sites))
    values = [effect.value for effect in effects]
    whiskers = [[e.value - e.low for e in effects], [e.high - e.value for e in effects]]
    axes.barh(rows, values, xerr=whiskers, color="0.75", edgecolor="black", linewidth=0.5, error_kw={"linewidth": 0.8})
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_yticks(rows, [site.label for site in sites], fontsize=6)
    axes.tick_params(axis="x", labelsize=7)
    axes.invert_yaxis()


def title(trace: Trace) -> str:
    """What the figure shows."""
    question = trace.question
    number = len(question.prompts)
    return (
        f"{question.attribute} “{question.concept}”: restored share of the score, %, {number} prompt{'s' * (number > 1)}\n"
        f"{question.read_out}; {question.corruption}; hatched: the interval holds zero"
    )
