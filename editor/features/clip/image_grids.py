"""Image grids: one strip of images per feature or group, with strength increasing from left to right."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from PIL import Image as Pillow

from editor.generation.config import Image
from editor.io.plotting import create_figure, render_png


@dataclass(frozen=True)
class ImageStrip:
    """One row of a grid, with a title for each image."""

    label: str
    images: Sequence[Image]
    titles: Sequence[str]


def render_strips(strips: Sequence[ImageStrip], columns: int = 1, kind: Literal["png", "webp"] = "png") -> bytes:
    """Render strips below each other, in ``columns``. All strips must have as many images as the first."""
    length, rows = len(strips[0].images), -(-len(strips) // columns)
    figure = create_figure(columns * (0.85 * length + 1.15), 0.98 * rows)
    blocks = figure.subfigures(1, columns, squeeze=False)[0]
    for number, block in enumerate(blocks):
        cells = block.subplots(rows, length, squeeze=False)
        for axes in cells.flat:
            axes.set_axis_off()
        for strip, row in zip(strips[number * rows : (number + 1) * rows], cells, strict=False):
            draw_strip(strip, row)
    return render_png(figure) if kind == "png" else png_to_webp(render_png(figure))


def png_to_webp(png_bytes: bytes) -> bytes:
    """Re-encode a PNG as WebP, at about a fifth of the size."""
    buffer = io.BytesIO()
    Pillow.open(io.BytesIO(png_bytes)).convert("RGB").save(buffer, format="webp", quality=85, method=6)
    return buffer.getvalue()


def draw_strip(strip: ImageStrip, cells: Sequence[Axes]) -> None:
    """Draw a strip into one row of axes."""
    for axes, image, title in zip(cells, strip.images, strip.titles, strict=True):
        axes.imshow(image, interpolation="lanczos")
        axes.set_title(title, fontsize=6, pad=2, parse_math=False)
    words = textwrap.fill(textwrap.shorten(strip.label, 60, placeholder=" …"), 16)
    first = cells[0]
    first.text(-0.1, 0.5, words, transform=first.transAxes, ha="right", va="center", fontsize=7, parse_math=False)
