"""Many concepts in one ordinary request: ``python -m research.results joint``."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from api_schemas.edits import EditRequest, Removal
from api_schemas.gates import Measure
from api_schemas.judging import Estimate, Verdict
from api_schemas.report import AuditReport
from editor.emoji.vocabulary import OBJECT_NAMES
from editor.prompts.templates import evenly_spaced
from editor.stats.intervals import estimate_mean
from research.emoji.erasure_capacity import make_removals
from research.harness import EmbeddedModel
from research.ordinary_requests import OrdinaryRequests
from research.results.pass_rate import REPORTS

WITHOUT_REPLACEMENT = 9
"""Objects of the mixed request that name no replacement."""


def mixed_removals() -> list[Removal]:
    """Return 28 objects, of which nine without a replacement, and two styles."""
    resolved = make_removals(evenly_spaced(OBJECT_NAMES, 28))
    named = [
        Removal(concept=one.concept.name, replacement=one.destination.words) for one in resolved[WITHOUT_REPLACEMENT:]
    ]
    plain = [Removal(concept=one.concept.name) for one in resolved[:WITHOUT_REPLACEMENT]]
    return [*plain, *named, Removal(concept="ink", kind="style"), Removal(concept="fluent", kind="style")]


def requests() -> dict[str, EditRequest]:
    """Return the requests of the table by name."""
    fifty = make_removals(evenly_spaced(OBJECT_NAMES, 50))
    mapped = [Removal(concept=one.concept.name, replacement=one.destination.words) for one in fifty]
    return {
        "50 objects, each with a replacement": EditRequest(removals=mapped),
        "28 objects, 9 of them without a replacement, and 2 styles": EditRequest(removals=mixed_removals()),
    }


class JointRow(BaseModel):
    """One measure of one request, over all gates of the measure."""

    request: str
    measure: Measure
    threshold: float
    mean: Estimate
    """Over the prompts of all its gates."""
    worst: float
    """The largest value of a gate."""
    outcomes: dict[Verdict, int]
    seconds: float


def make_rows(name: str, report: AuditReport, seconds: float) -> Iterator[JointRow]:
    """Yield a row for each measure of a report."""
    checks = report.validation.checks if report.validation else []
    for measured in dict.fromkeys(check.measure for check in checks):
        own = [check for check in checks if check.measure == measured and check.observations]
        if not own:
            continue
        outcomes: dict[Verdict, int] = {}
        for check in own:
            outcomes[check.outcome] = outcomes.get(check.outcome, 0) + 1
        yield JointRow(
            request=name,
            measure=measured,
            threshold=own[0].threshold,
            mean=estimate_mean([value for check in own for value in check.observations]),
            worst=max(check.measured.value for check in own),
            outcomes=outcomes,
            seconds=seconds,
        )


def measure(model: EmbeddedModel, reports: Path = REPORTS) -> Iterator[JointRow]:
    """Measure every row. Reports that are stored are read."""
    ordinary = OrdinaryRequests(reports, model.cache)
    for name, request in requests().items():
        found = ordinary.measure(request)
        yield from make_rows(name, found.report, found.seconds)


def render(rows: list[JointRow]) -> str:
    """Render the section."""
    return "\n".join([TEXT, COLUMNS, *map(render_row, rows)])


def render_row(row: JointRow) -> str:
    """Render a row of the table."""
    counts = ", ".join(f"{number} {verdict}" for verdict, number in row.outcomes.items())
    mean = f"{row.mean.value:.3f} ({row.mean.low:.3f} to {row.mean.high:.3f})"
    return f"| {row.request} | `{row.measure}` | {mean} | {row.worst:.3f} | {row.threshold:g} | {counts} | {row.seconds:.0f} |"


TEXT = """## Many concepts in one request

The gates of one request with many removals: the mean over the prompts of all gates of a measure, and the gate with the largest
value.
"""
COLUMNS = """| removed | measure | mean | largest | at most | gates | seconds |
|---|---|---|---|---|---|---|"""
