"""How many default requests pass: ``python -m research.results pass_rate``.

Every object without a replacement and every style of an embedded model, removed one at a time by the request that
``expunge erase`` sends without options. Reports are stored as they are finished, so a run may be interrupted, and divided with
``--only`` and ``--shard``; all share the images of the unedited model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median

from pydantic import BaseModel

from api_schemas.edits import EditRequest, Removal
from api_schemas.errors import UsageError
from api_schemas.judging import Check, Estimate, Verdict
from api_schemas.kinds import ConceptKind
from api_schemas.report import AuditReport, TradeOffPoint
from editor.emoji.locate import EMBEDDED_MODELS
from editor.emoji.vocabulary import OBJECT_NAMES, STYLES
from editor.prompts.templates import evenly_spaced
from editor.stats.intervals import estimate_rate
from research.harness import EmbeddedModel
from research.ordinary_requests import MeasuredReport, OrdinaryRequests

REPORTS = Path("build/reports")
VERDICTS: tuple[Verdict, ...] = ("passed", "failed", "inconclusive")


@dataclass(frozen=True)
class Selection:
    """Which concepts are measured, and on which model."""

    model: str = "emoji"
    only: Sequence[str] = ()
    """Names; empty for all."""
    objects: int | None = None
    """Number of evenly spaced objects; None for all."""
    shard: tuple[int, int] = (1, 1)
    """Which part of how many, from 1."""

    def requests(self) -> list[EditRequest]:
        """Return a request for each concept. Raises UsageError: a name is unknown."""
        return [EditRequest(model=self.model, removals=[removal]) for removal in self._removals()]

    def _removals(self) -> list[Removal]:
        """Return the removals. Raises UsageError: a name is unknown."""
        objects = OBJECT_NAMES if self.objects is None else evenly_spaced(OBJECT_NAMES, self.objects)
        named: list[tuple[str, ConceptKind]] = [
            *((name, "object") for name in objects),
            *((s, "style") for s in STYLES),
        ]
        if unknown := {*self.only} - {*OBJECT_NAMES, *STYLES}:
            raise UsageError(
                f"Unknown: {', '.join(sorted(unknown))}.", field="only", remedy="Name emoji objects or styles."
            )
        if self.only:
            named = [(name, "style" if name in STYLES else "object") for name in self.only]
        part, parts = self.shard
        return [Removal(concept=name, kind=kind) for name, kind in named[part - 1 :: parts]]


EVERY_CONCEPT = tuple(Selection(model) for model in EMBEDDED_MODELS)


def parse_shard(text: str) -> tuple[int, int]:
    """``"2/4"`` -> ``(2, 4)``. Raises ValueError."""
    part, parts = map(int, text.split("/"))
    if not 1 <= part <= parts:
        raise ValueError(f"{text} is no part: the first of four is 1/4")
    return part, parts


class GateRow(BaseModel):
    """A gate of a default request."""

    name: str
    measured: Estimate
    threshold: float
    outcome: Verdict
    reason: str


class PassRateRow(BaseModel):
    """One default request."""

    model: str = "emoji"
    concept: str
    kind: ConceptKind
    destination: str
    verdict: Verdict
    seconds: float
    images: int
    before: Estimate
    """Share of images of held-out prompts in which the concept was recognised before the edit."""
    after: Estimate
    gates: list[GateRow]
    trade_off: list[TradeOffPoint]
    """Of requests that did not pass: what each preservation weight removes and retains, in text space."""


def make_row(measured: MeasuredReport) -> PassRateRow:
    """Read a row off a report."""
    report = measured.report
    (removal,) = report.removals
    validation = report.validation
    assert validation is not None
    assert report.verdict is not None
    held_out = next(group for group in validation.groups if group.group == "generality")
    return PassRateRow(
        model=report.model.id,
        concept=removal.concept,
        kind=removal.kind,
        destination=removal.destination,
        verdict=report.verdict,
        seconds=measured.seconds,
        images=validation.images,
        before=held_out.accuracy_before,
        after=held_out.accuracy_after,
        gates=[gate_row(check) for check in validation.checks],
        trade_off=trade_off(report) if report.verdict != "passed" else [],
    )


def gate_row(check: Check) -> GateRow:
    """Return a gate without its observations."""
    return GateRow(
        name=check.name,
        measured=check.measured,
        threshold=check.threshold,
        outcome=check.outcome,
        reason=check.reason,
    )


def trade_off(report: AuditReport) -> list[TradeOffPoint]:
    """Return the trade-off curve of the first changed tensor."""
    return report.solves[0].trade_off if report.solves else []


def measure(model: EmbeddedModel, selection: Selection = Selection(), reports: Path = REPORTS) -> Iterator[PassRateRow]:
    """Yield a row for each selected concept, and for every other one whose report is stored."""
    requests = OrdinaryRequests(reports, model.cache)
    selected = selection.requests()
    others = [request for every in EVERY_CONCEPT for request in every.requests()]
    yield from (make_row(requests.measure(request)) for request in selected)
    stored = (request for request in others if request not in selected and requests.path(request).exists())
    yield from (make_row(requests.measure(request)) for request in stored)


def render(rows: list[PassRateRow]) -> str:
    """Render the section."""
    parts = [TEXT, COLUMNS]
    for model, kind in product(EMBEDDED_MODELS, ("object", "style")):
        if own := [row for row in rows if (row.model, row.kind) == (model, kind)]:
            every = len(OBJECT_NAMES if kind == "object" else STYLES)
            parts.append(render_share(f"{kind}s of {model}", every, own))
    missed = [row for row in rows if row.verdict != "passed"]
    if missed:
        parts += [FAILURES, *(line for row in missed for line in render_failure(row))]
    return "\n".join(parts)


def render_share(name: str, every: int, rows: Sequence[PassRateRow]) -> str:
    """Render the shares of the verdicts, with intervals."""
    shares = [estimate_rate([row.verdict == verdict for row in rows]) for verdict in VERDICTS]
    cells = [f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f})" for one in shares]
    return f"| {name} | {len(rows)} of {every} | {' | '.join(cells)} | {median(row.seconds for row in rows):.0f} |"


def render_failure(row: PassRateRow) -> Iterator[str]:
    """Render a row for each gate that did not pass, then the trade-off."""
    becomes = row.destination or "(null)"
    for gate in row.gates:
        if gate.outcome != "passed":
            measured = f"{gate.measured.value:.3f} ({gate.measured.low:.3f} to {gate.measured.high:.3f})"
            yield f"| {row.concept}, {row.model} | {becomes} | {gate.name} | {measured} | {gate.threshold:g} | {gate.outcome} |"
    curve = ", ".join(f"{point.preservation:g}: {point.removed:.2f} / {point.retained:.2f}" for point in row.trade_off)
    yield f"| {row.concept}, {row.model} | {becomes} | trade-off: weight: removed / retained | {curve} | | {row.verdict} |"


TEXT = """## Default requests that pass

Every object without a replacement and every style, removed one at a time by `expunge erase --remove NAME` without further
options, or with `--model emoji-dit`; read from the reports. Shares have 95 % Wilson intervals; seconds are the median of a
request, with other work beside it. Concepts that are not measured yet are left out: `python -m research.results pass_rate`
measures them, with `--model emoji-dit` on the second model.
"""
COLUMNS = """| removed | measured | passed | failed | inconclusive | seconds |
|---|---|---|---|---|---|"""
FAILURES = """
Gates that were not passed, and the trade-off in text space between what is removed and what is retained:

| concept | becomes | gate | measured | threshold | outcome |
|---|---|---|---|---|---|"""
