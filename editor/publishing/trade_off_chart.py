"""The trade-off curve of a solve, written as SVG: every edit has one, and importing a plotting library takes a second."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from api_schemas.report import SolveRecord
from editor.io.figures import Chart
from editor.publishing.figure_names import trade_off_figure_name

WIDTH, HEIGHT = 468, 216
"""Size of the drawing in points."""
LEFT, RIGHT, TOP, BOTTOM = 40, 460, 24, 180
"""The edges of the plot in the drawing."""
INSET = 16
"""Points between the edges of the plot and the smallest and the largest weight."""
SHARE_STEP, MAX_SHARE_STEPS = 0.2, 10
"""Distance of the horizontal grid lines, or a multiple of it if they would be too many."""
GRID_COLOUR, RETAINED_COLOUR = "#8e8e93", "#2f7de1"
"""Readable on dark and light pages; all else has the colour of the page's text."""
GRID = f'stroke="{GRID_COLOUR}" stroke-opacity="0.35" stroke-width="0.6"'
FRAME = 'fill="none" stroke="currentColor" stroke-width="0.8"'
SELECTED = f'stroke="{GRID_COLOUR}" stroke-width="1.5" stroke-dasharray="1.5 2.5"'
REMOVED = 'stroke="currentColor" stroke-width="1.5"'
RETAINED = f'stroke="{RETAINED_COLOUR}" stroke-width="1.5" stroke-dasharray="5.5 2.4"'
LEGEND = (LEFT + 14, LEFT + 100, LEFT + 186)
"""Where the entries for removed, retained and selected begin, above the plot."""
Point = tuple[float, float]


@dataclass(frozen=True)
class PlotArea:
    """Maps preservation weights, on a logarithmic axis, and shares to points of the drawing."""

    smallest: float
    largest: float
    lowest: float
    """The share at the bottom; 1 is at the top."""

    @classmethod
    def of(cls, weights: Sequence[float], shares: Iterable[float]) -> "PlotArea":
        """Return the area that shows all weights and shares."""
        return cls(min(weights), max(weights), min(0.0, *shares))

    def x(self, weight: float) -> float:
        """Return the horizontal place of a weight; that of the only one is the left."""
        span = math.log(self.largest / self.smallest) or 1.0
        return LEFT + INSET + (RIGHT - LEFT - 2 * INSET) * math.log(weight / self.smallest) / span

    def y(self, share: float) -> float:
        """Return the vertical place of a share."""
        return BOTTOM - (BOTTOM - TOP) * (share - self.lowest) / (1 - self.lowest)

    @property
    def weight_ticks(self) -> list[float]:
        """The powers of ten among the weights."""
        exponents = range(math.ceil(math.log10(self.smallest)), math.floor(math.log10(self.largest)) + 1)
        return [10.0**exponent for exponent in exponents]

    @property
    def share_ticks(self) -> list[float]:
        """The shares of the grid lines, from the bottom to 1."""
        step = SHARE_STEP * math.ceil((1 - self.lowest) / (MAX_SHARE_STEPS * SHARE_STEP))
        return [number * step for number in range(math.ceil(self.lowest / step), math.floor(1 / step) + 1)]


def trade_off_chart(solve: SolveRecord, index: int) -> Chart:
    """Draw the removed and the retained share over the preservation weights tried for the report's ``index``-th solve."""
    tried = sorted(solve.trade_off, key=lambda point: point.preservation)
    shares = [share for point in tried for share in (point.removed, point.retained)]
    area = PlotArea.of([*(point.preservation for point in tried), solve.preservation], shares)
    removed = [(area.x(point.preservation), area.y(point.removed)) for point in tried]
    retained = [(area.x(point.preservation), area.y(point.retained)) for point in tried]
    selected = area.x(solve.preservation)
    elements = [
        *draw_axes(area),
        draw_line([(selected, TOP), (selected, BOTTOM)], SELECTED),
        draw_line(removed, REMOVED),
        *map(draw_circle, removed),
        draw_line(retained, RETAINED),
        *map(draw_square, retained),
        *draw_legend(solve.preservation),
    ]
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}pt" height="{HEIGHT}pt" viewBox="0 0 {WIDTH} {HEIGHT}" '
        """font-family="'DejaVu Sans', sans-serif" font-size="9" fill="currentColor">"""
    )
    return Chart(
        trade_off_figure_name(index),
        "\n".join([opening, *elements, "</svg>"]),
        "Effect of the preservation weight, measured on held-out prompts that the edit did not use.",
        f"Two curves over the preservation weight; {solve.preservation:.3g} was selected. The table lists all values.",
    )


def draw_axes(area: PlotArea) -> Iterator[str]:
    """Yield the grid, the frame and the labels of both axes."""
    for weight in area.weight_ticks:
        yield draw_line([(area.x(weight), TOP), (area.x(weight), BOTTOM)], GRID)
        yield draw_text((area.x(weight), BOTTOM + 13), f"{weight:g}", "middle")
    for share in area.share_ticks:
        yield draw_line([(LEFT, area.y(share)), (RIGHT, area.y(share))], GRID)
        yield draw_text((LEFT - 6, area.y(share) + 3), f"{share:.1f}", "end")
    yield f'<rect x="{LEFT}" y="{TOP}" width="{RIGHT - LEFT}" height="{BOTTOM - TOP}" {FRAME}/>'
    yield draw_text(((LEFT + RIGHT) / 2, BOTTOM + 28), "preservation weight", "middle")
    x, y = 10, (TOP + BOTTOM) / 2
    yield draw_text((x, y), "share, on held-out prompts", "middle", f'transform="rotate(-90 {x} {y})"')


def draw_legend(selected: float) -> Iterator[str]:
    """Yield the legend, a row above the plot."""
    middle = TOP / 2
    words = ("removed", "retained", f"selected: {selected:.3g}")
    for x, style, label in zip(LEGEND, (REMOVED, RETAINED, SELECTED), words, strict=True):
        yield draw_line([(x - 10, middle), (x + 10, middle)], style)
        yield draw_text((x + 16, middle + 3), label, "start")
    yield draw_circle((LEGEND[0], middle))
    yield draw_square((LEGEND[1], middle))


def draw_line(points: Sequence[Point], style: str) -> str:
    """Return a line through points."""
    path = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" {style}/>'


def draw_circle(centre: Point) -> str:
    """Return the marker of a removed share."""
    return f'<circle cx="{centre[0]:.2f}" cy="{centre[1]:.2f}" r="3"/>'


def draw_square(centre: Point) -> str:
    """Return the marker of a retained share."""
    x, y = centre[0] - 3, centre[1] - 3
    return f'<rect x="{x:.2f}" y="{y:.2f}" width="6" height="6" fill="{RETAINED_COLOUR}"/>'


def draw_text(place: Point, words: str, anchor: str, attributes: str = "") -> str:
    """Return a label; none has characters that XML reserves."""
    return f'<text x="{place[0]:.2f}" y="{place[1]:.2f}" text-anchor="{anchor}" {attributes}>{words}</text>'
