"""The report's figures: pictures before and after, as PNG, and charts, as SVG.

Each carries a caption and a text for those who can't see it, and is readable without colour. What comes from a request
is drawn as it is: no mathematics, no markup. The same figure gives the same bytes.
"""

import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from PIL import Image

DPI = 110
INK = "#010203"
"""Drawn for the ink of whatever page the chart is on, dark or light; no other colour is that close to black."""
SHEET_COLUMNS = 8
"""Pairs beside each other on a sample sheet."""


CHART_STYLE: Any = {
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.facecolor", "figure.facecolor"), "none"),
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "expunge",
}
"""matplotlib's settings for charts."""


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
class Chart:
    """A chart of the report's own numbers. ``name`` becomes a file name."""

    name: str
    svg: str
    """One ``svg`` element; its ids are its own, so that many fit on one page."""
    caption: str
    alt: str


Figure = Picture | Chart


def figure_file(figure: Figure) -> tuple[str, bytes]:
    """A figure's published file and what is in it."""
    if isinstance(figure, Chart):
        return f"figures/{figure.name}.svg", figure.svg.encode()
    return f"figures/{figure.name}.png", figure.png


@dataclass(frozen=True)
class ImagePair:
    """One prompt and seed, drawn before and after the edit."""

    caption: str
    before: Image.Image
    after: Image.Image


def canvas(width: float, height: float) -> Canvas:
    """An empty figure, in inches. Not pyplot's: that keeps every figure alive in a global list."""
    figure = Canvas(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Canvas) -> bytes:
    """Rendered with no version inside, so that the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


@contextmanager
def chart_style() -> Iterator[None]:
    """Charts drawn inside are in the page's ink, on nothing, and their letters stay letters."""
    with rc_context(CHART_STYLE):
        yield


def svg(figure: Canvas, name: str) -> str:
    """One ``svg`` element in the page's ink, without date and version. ``name`` goes before each of its ids."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    drawn = buffer.getvalue()
    element = drawn[drawn.index("<svg") :].replace(INK, "currentColor")
    element = re.sub(r"<metadata>.*?</metadata>\s*", "", element, flags=re.DOTALL)
    own = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", element)
    return own.rstrip()


def sample_sheet(name: str, caption: str, pairs: Sequence[ImagePair]) -> Picture:
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


def draw_pair(above: Axes, below: Axes, pair: ImagePair, *, labelled: bool) -> None:
    """Before above, after below; row labels on the sheet's left edge."""
    for axes, image, label in ((above, pair.before, "before"), (below, pair.after, "after")):
        axes.imshow(np.asarray(image.convert("RGB")), interpolation="lanczos")
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[], ylabel=label if labelled else "")
    prompt = textwrap.shorten(pair.caption, 60, placeholder=" …")
    above.set_title(textwrap.fill(prompt, 18), fontsize=7, parse_math=False)
