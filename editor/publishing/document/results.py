"""The verdict, the pictures and the figures."""

from collections.abc import Iterator

from api_schemas.report import AuditReport, Validation
from editor.publishing import words
from editor.publishing.document.blocks import Block, Heading, Illustration, Outcome, Section, Table, text
from editor.publishing.document.gallery import Gallery


def results(report: AuditReport, gallery: Gallery) -> Iterator[Section]:
    """What was found."""
    sheets = [Illustration(sheet) for sheet in gallery.sheets]
    if sheets:
        same = "The same prompts and the same random seeds, drawn by the model as it was and as it is now."
        yield Section("pictures", "Before and after", [text(same), *sheets])
    if report.validation:
        yield Section("gates", "Against the thresholds", [*gates(report, report.validation, gallery)])
        yield Section("scores", "What the judge recognised", [*scores(report, report.validation, gallery)])


def gates(report: AuditReport, validation: Validation, gallery: Gallery) -> Iterator[Block]:
    """Each threshold and what came of it."""
    yield text(
        f"Where the true figure lies with {words.percent(validation.confidence)} confidence is in brackets. "
        "The thresholds were fixed before anything was drawn."
    )
    yield from gallery.chart("gates")
    yield Table(
        "Thresholds",
        ("Figure", "Concept", "Measured", "At most", "Prompts", "Outcome"),
        [
            (
                words.check_name(check),
                words.concept(report, check.removal),
                words.share(check.measured),
                words.percent(check.threshold),
                str(check.measured.n),
                Outcome(check.outcome),
            )
            for check in validation.checks
        ],
    )


def scores(report: AuditReport, validation: Validation, gallery: Gallery) -> Iterator[Block]:
    """Shares and similarities of all groups."""
    yield from gallery.chart("scores")
    yield Table(
        "Share of pictures in which it was recognised",
        ("Prompts", "Number", "Before", "After", "Fall"),
        [
            (
                words.group_name(report, group),
                str(group.accuracy_after.n),
                *(words.share(one) for one in (group.accuracy_before, group.accuracy_after, group.accuracy_drop)),
            )
            for group in validation.groups
        ],
    )
    yield Heading("Resemblance")
    yield Table(
        "How much the pictures resemble what was asked for (cosine of the judge's embeddings)",
        ("Prompts", "Before", "After"),
        [
            (words.group_name(report, group), words.number(group.score_before), words.number(group.score_after))
            for group in validation.groups
        ],
    )
