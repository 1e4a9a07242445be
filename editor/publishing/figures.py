"""The report's figures, as PNG: the trace, the trade-off curve, and pictures before and after.

Each carries a caption and a text for those who can't see it, and is readable without colour. What comes from a request
is drawn as it is: no mathematics, no markup.
"""

import io
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from api_schemas.report import RemovalRecord, SiteEffect, SiteKind, SolveRecord, TraceRecord

DPI = 150
KINDS: dict[SiteKind, str] = {"self_attention": "self-attention", "mlp": "MLP"}
SHEET_COLUMNS = 8
"""Pairs beside each other on a sample sheet."""


@dataclass(frozen=True)
class Picture:
    """A figure for the report. ``name`` becomes a file name, so it never derives from a concept's."""

    name: str
    png: bytes
    caption: str
    alt: str

    @property
    def width(self) -> int:
        """In CSS pixels (96 an inch), from the PNG's header."""
        return int.from_bytes(self.png[16:20], "big") * 96 // DPI


@dataclass(frozen=True)
class Pair:
    """One prompt and seed, drawn before and after the edit."""

    caption: str
    before: Image.Image
    after: Image.Image


def canvas(width: float, height: float) -> Figure:
    """An empty figure, in inches. Not pyplot's: that keeps every figure alive in a global list."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """Rendered with no version inside, so that the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def trace_map(trace: TraceRecord, removal: RemovalRecord, edited: Collection[str]) -> Picture:
    """The share of the judge's score that each site restores; ``edited`` names the edited ones, as ``layer 0 mlp``."""
    layers = sorted({site.layer for site in trace.sites})
    top = max(1.0, *(site.effect.value for site in trace.sites))
    figure = canvas(2.0 + 0.9 * len(layers), 2.3)
    axes = figure.subplots()
    image = axes.imshow(grid(trace, layers), cmap="Blues", vmin=0, vmax=top, aspect="auto")
    for site in trace.sites:
        write_effect(axes, site, layers.index(site.layer), dark=site.effect.value > 0.6 * top)
        if f"layer {site.layer} {site.kind}" in edited:
            frame(axes, layers.index(site.layer), row(site))
    axes.set_xticks(range(len(layers)), [str(layer) for layer in layers])
    axes.set_yticks(range(len(KINDS)), list(KINDS.values()))
    axes.set_xlabel("layer of the text encoder")
    figure.colorbar(image, label="restored share")
    return Picture(
        f"trace-{trace.removal}",
        png(figure),
        f"Where “{removal.concept}” is made: the share of the judge's score that comes back when one site alone is put "
        f"back from the undisturbed run. A frame marks what was edited.",
        f"Heat map of layers by kind of site. Largest effect: {trace.causal_site}. The table below has all values.",
    )


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
    axes.text(column, row(site), f"{site.effect.value:.2f}", ha="center", va="center", color=colour)


def frame(axes: Axes, column: int, row: int) -> None:
    """A frame just inside a cell."""
    axes.add_patch(Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, linewidth=2.5, edgecolor="black"))


def trade_off_curve(solve: SolveRecord, index: int) -> Picture:
    """How much is removed and how much retained over the preservation weights tried for the report's ``index``-th solve."""
    points = sorted(solve.trade_off, key=lambda point: point.preservation)
    weights = [point.preservation for point in points]
    figure = canvas(6.5, 3.2)
    axes = figure.subplots()
    axes.plot(weights, [point.removed for point in points], "o-", color="black", label="removed")
    axes.plot(weights, [point.retained for point in points], "s--", color="tab:blue", label="retained")
    axes.axvline(solve.preservation, color="gray", linestyle=":", label=f"chosen: {solve.preservation:.3g}")
    axes.set(xscale="log", xlabel="preservation weight", ylabel="share, on held-out prompts")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.grid(alpha=0.3)
    axes.legend()
    return Picture(
        f"trade-off-{index}",
        png(figure),
        "What the preservation weight costs and gains, measured on prompts that the edit did not see.",
        f"Two curves over the preservation weight; {solve.preservation:.3g} was chosen. All values are in the table.",
    )


def sample_sheet(name: str, caption: str, pairs: Sequence[Pair]) -> Picture:
    """Pairs side by side, each before over after, with their prompts on top.

    Args:
        name: ``samples…``, of lower-case letters, digits and hyphens.
        caption: what the sheet shows, a sentence.
        pairs: at least one.
    """
    columns = min(SHEET_COLUMNS, len(pairs))
    bands = -(-len(pairs) // columns)
    figure = canvas(1.3 * columns + 0.4, 3.1 * bands)
    cells = figure.subplots(2 * bands, columns, squeeze=False)
    for axes in cells.flat:
        axes.set_axis_off()
    for index, pair in enumerate(pairs):
        band, column = divmod(index, columns)
        draw_pair(cells[2 * band][column], cells[2 * band + 1][column], pair, labelled=column == 0)
    prompts = "; ".join(dict.fromkeys(pair.caption for pair in pairs))
    return Picture(name, png(figure), caption, f"{len(pairs)} pairs of pictures, before over after: {prompts}")


def draw_pair(above: Axes, below: Axes, pair: Pair, *, labelled: bool) -> None:
    """Before above, after below; row labels on the sheet's left edge."""
    for axes, image, label in ((above, pair.before, "before"), (below, pair.after, "after")):
        axes.imshow(np.asarray(image.convert("RGB")), interpolation="lanczos")
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[], ylabel=label if labelled else "")
    prompt = textwrap.shorten(pair.caption, 60, placeholder=" …")
    above.set_title(textwrap.fill(prompt, 18), fontsize=7, parse_math=False)
