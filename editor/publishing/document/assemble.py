"""The whole report as a document."""

from collections.abc import Iterator, Sequence

from api_schemas.report import AuditReport
from editor.io.plotting import Figure
from editor.publishing import report_text
from editor.publishing.document.attacks_section import attacked
from editor.publishing.document.blocks import Document, Gallery, Section
from editor.publishing.document.edit_section import change
from editor.publishing.document.methods_section import limits, record
from editor.publishing.document.results_section import results
from editor.publishing.document.summary_section import summary


def document(report: AuditReport, figures: Sequence[Figure]) -> Document:
    """In the order in which people ask: verdict, evidence, limits, method, files."""
    return Document(
        kind="Audit report of a concept removal",
        title=report_text.title(report),
        verdict=report.verdict,
        summary=[*summary(report)],
        sections=[*sections(report, Gallery(figures))],
        footer=f"Job {report.job_id}, {report.created_at.isoformat(timespec='seconds')}; "
        f"report schema {report.schema_version}.",
    )


def sections(report: AuditReport, gallery: Gallery) -> Iterator[Section]:
    """Everything after the summary."""
    yield from results(report, gallery)
    yield from attacked(report, gallery)
    if not report_text.emptied(report):
        yield limits(report)
    yield from change(report, gallery)
    yield from record(report)
