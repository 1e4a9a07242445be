"""Geometry of the charts that templates draw as SVG: the macros in `charts.html` only place what is computed here."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from api_schemas.attacks import Rate
from api_schemas.report import AuditReport, Check, Estimate, GroupScore, TraceRecord
from service.web import report_words

PLOT_WIDTH = 400.0
"""Width of the plotted range in SVG units."""
ROW_HEIGHT = 34.0
CELL = 30.0
"""Side of a cell of a heat-map."""


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval, in SVG units from the left of the plot."""

    value: float
    low: float
    high: float
    text: str
    """The same in words."""


@dataclass(frozen=True)
class ForestRow:
    """A row of a forest plot."""

    label: str
    after: Interval
    before: Interval | None = None
    limit: float | None = None
    outcome: str = ""


@dataclass(frozen=True)
class ForestPlot:
    """A forest plot: intervals before and after an edit on one axis."""

    title: str
    rows: Sequence[ForestRow]
    ticks: Sequence[tuple[float, str]]
    """Position and label of each mark of the axis."""

    @property
    def height(self) -> float:
        """Height of the rows."""
        return ROW_HEIGHT * len(self.rows)


@dataclass(frozen=True)
class Axis:
    """A linear axis from `low` to `high`."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Return the position of a value; values outside of the axis are at its ends."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(PLOT_WIDTH * share, 1)

    def interval(self, estimate: Estimate | Rate) -> Interval:
        """Place an estimate."""
        value, low, high = map(self.place, (estimate.value, estimate.low, estimate.high))
        return Interval(value, low, high, report_words.share(estimate))

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Return five marks of the axis."""
        values = [self.low + (self.high - self.low) * index / 4 for index in range(5)]
        return [(self.place(value), report_words.percent(value)) for value in values]


SHARES = Axis(0.0, 1.0)


def gates_plot(report: AuditReport, checks: Sequence[Check]) -> ForestPlot:
    """Return the gates: each measured value with its interval and its threshold."""
    lowest = min([0.0, *(check.measured.low for check in checks)])
    axis = Axis(-0.25 if lowest >= -0.25 else -1.0, 1.0) if lowest < 0 else SHARES
    rows = [
        ForestRow(
            report_words.check_label(report, check),
            axis.interval(check.measured),
            limit=axis.place(check.threshold),
            outcome=check.outcome,
        )
        for check in checks
    ]
    return ForestPlot("Measured values with confidence intervals, and thresholds", rows, axis.ticks)


def recognition_plot(report: AuditReport, groups: Sequence[GroupScore]) -> ForestPlot:
    """Return how often the judge recognises what each group of prompts asks for, before and after the edit."""
    rows = [
        ForestRow(
            report_words.group_label(report, group),
            SHARES.interval(group.accuracy_after),
            SHARES.interval(group.accuracy_before),
        )
        for group in groups
    ]
    return ForestPlot("How often the judge recognises what the prompt asks for, before and after", rows, SHARES.ticks)


@dataclass(frozen=True)
class HeatCell:
    """A cell of a heat-map."""

    x: float
    y: float
    strength: float
    """0 to 1."""
    text: str
    edited: bool


@dataclass(frozen=True)
class TraceMap:
    """The effects of a trace by layer and kind of site."""

    words: Sequence[tuple[str, bool]]
    """The words of an example prompt, and whether each belongs to the concept."""
    layers: Sequence[tuple[float, int]]
    rows: Sequence[tuple[float, str]]
    cells: Sequence[HeatCell]
    causal: str
    width: float


HEAT_LEVELS = (0.02, 0.1, 0.25, 0.5, 0.75)
"""Shares at which the next darker colour of a word map begins; below the first one a cell has none."""


@dataclass(frozen=True)
class WordCell:
    """A cell of a word map: a share in per cent, and its colour, 0 to 5."""

    percent: int
    level: int


@dataclass(frozen=True)
class WordMap:
    """The effects of a trace at each word of a prompt (rows) in each layer (columns)."""

    prompt: str
    concept: str
    component: str
    edited: Sequence[int]
    """The edited layers."""
    rows: Sequence[tuple[str, bool, Sequence[WordCell]]]
    """The word, whether it names the concept, and its cells."""
    key: Sequence[str] = ("below 2", *(f"from {100 * share:.0f}" for share in HEAT_LEVELS))
    """What each colour means."""


def word_map(report: AuditReport, trace: TraceRecord) -> WordMap | None:
    """Return a trace by word, or None if the report has none."""
    if trace.by_word is None:
        return None
    return WordMap(
        prompt=trace.by_word.prompt,
        concept=report_words.concept_name(report, trace.removal),
        component=trace.component,
        edited=sorted(layer for kind, layer in edited_sites(report, trace) if kind == "self_attention"),
        rows=[(word.text, word.subject, list(map(word_cell, word.effects))) for word in trace.by_word.words],
    )


def word_cell(share: float) -> WordCell:
    """Return the cell of a share."""
    return WordCell(round(100 * share), bisect_right(HEAT_LEVELS, share))


def edited_sites(report: AuditReport, trace: TraceRecord) -> set[tuple[str, int]]:
    """Return the kind and the layer of each edited site of the traced text encoder."""
    own = (solve for solve in report.solves if solve.component == trace.component)
    return {(solve.sublayer, solve.layer) for solve in own if solve.layer is not None}


SITE_ROWS = {"self_attention": "attention", "mlp": "MLP"}


def trace_map(report: AuditReport, trace: TraceRecord) -> TraceMap:
    """Return a trace as a heat-map. Negative effects count as none."""
    layers = sorted({site.layer for site in trace.sites})
    strongest = max([site.effect.value for site in trace.sites] + [1e-9])
    edited = edited_sites(report, trace)
    cells = [
        HeatCell(
            x=CELL * layers.index(site.layer),
            y=CELL * list(SITE_ROWS).index(site.kind),
            strength=round(max(0.0, site.effect.value) / strongest, 3),
            text=f"layer {site.layer}, {SITE_ROWS[site.kind]}: {report_words.share(site.effect)} of the score restored",
            edited=(site.kind, site.layer) in edited,
        )
        for site in trace.sites
    ]
    return TraceMap(
        words=report_words.example_prompt(report, trace),
        layers=[(CELL * index + CELL / 2, layer) for index, layer in enumerate(layers)],
        rows=[(CELL * index + CELL / 2, label) for index, label in enumerate(SITE_ROWS.values())],
        cells=cells,
        causal=trace.causal_site.replace("_", "-"),
        width=CELL * len(layers),
    )
