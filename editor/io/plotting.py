"""Figures of the report: sample sheets as PNG, and charts as SVG.

Each figure has a caption and an alternative text, and is readable without colour. Text from a request is drawn literally,
without mathematics or markup. The same figure gives the same bytes.
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
from matplotlib.figure import Figure as MatplotlibFigure
from PIL import Image

from editor.io.figures import DPI, Picture
from editor.io.printable import spell_unprintable

INK = "#010203"
"""Placeholder for the text colour of the page, dark or light: :func:`render_svg` replaces it with ``currentColor``."""
SHEET_COLUMNS = 8
"""Maximum number of pairs in a row of a sample sheet."""


CHART_STYLE: Any = {
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.facecolor", "figure.facecolor"), "none"),
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "expunge",
}
"""matplotlib settings for charts."""


@dataclass(frozen=True)
class ImagePair:
    """The images of one prompt and seed before and after the edit."""

    caption: str
    before: Image.Image
    after: Image.Image


def create_figure(width: float, height: float) -> MatplotlibFigure:
    """Create an empty figure; sizes in inches. pyplot is not used, because it keeps every figure in a global list."""
    figure = MatplotlibFigure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def render_png(figure: MatplotlibFigure) -> bytes:
    """Render a figure as PNG, without matplotlib's version, so that the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


@contextmanager
def chart_style() -> Iterator[None]:
    """Context manager: draw charts in the page's text colour, on a transparent background, with text as text."""
    with rc_context(CHART_STYLE):
        yield


def render_svg(figure: MatplotlibFigure, name: str) -> str:
    """Render a figure as one ``svg`` element, without date and version. ``name`` is the prefix of its ids."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    document = buffer.getvalue()
    element = document[document.index("<svg") :].replace(INK, "currentColor")
    element = re.sub(r"<metadata>.*?</metadata>\s*", "", element, flags=re.DOTALL)
    with_prefix = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", element)
    return spell_unprintable(with_prefix.rstrip())  # XML refuses control characters


def sample_sheet(name: str, caption: str, pairs: Sequence[ImagePair]) -> Picture:
    """Draw pairs of images side by side, each with the image before the edit on top, under its prompt.

    Args:
        name: file name without its suffix: ``samples…``, of lower-case letters, digits and hyphens.
        caption: a sentence that says what the sheet shows.
        pairs: at least one pair.
    """
    columns = min(SHEET_COLUMNS, len(pairs))
    bands = -(-len(pairs) // columns)
    figure = create_figure(1.3 * columns + 0.4, 3.1 * bands)
    cells = figure.subplots(2 * bands, columns, squeeze=False)
    for axes in cells.flat:
        axes.set_axis_off()
    for index, pair in enumerate(pairs):
        band, column = divmod(index, columns)
        draw_pair(cells[2 * band][column], cells[2 * band + 1][column], pair, labelled=column == 0)
    prompts = "; ".join(dict.fromkeys(pair.caption for pair in pairs))
    return Picture(name, render_png(figure), caption, f"{len(pairs)} pairs of pictures, before over after: {prompts}")


def draw_pair(above: Axes, below: Axes, pair: ImagePair, *, labelled: bool) -> None:
    """Draw one pair, with the image before the edit above the one after it."""
    for axes, image, label in ((above, pair.before, "before"), (below, pair.after, "after")):
        axes.imshow(np.asarray(image.convert("RGB")), interpolation="lanczos")
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[], ylabel=label if labelled else "")
    prompt = textwrap.shorten(pair.caption, 60, placeholder=" …")
    above.set_title(textwrap.fill(prompt, 18), fontsize=7, parse_math=False)
