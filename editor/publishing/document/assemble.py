"""The whole report as a document."""

from collections.abc import Iterator, Sequence

from api_schemas.report import AuditReport
from editor.publishing import words
from editor.publishing.document.attacked import attacked
from editor.publishing.document.blocks import Document, Section
from editor.publishing.document.change import change
from editor.publishing.document.gallery import Gallery
from editor.publishing.document.record import limits, record
from editor.publishing.document.results import results
from editor.publishing.document.summary import summary
from editor.publishing.figures import Figure


def document(report: AuditReport, figures: Sequence[Figure]) -> Document:
    """In the order in which people ask: verdict, evidence, limits, method, files."""
    return Document(
        kind="Audit report of a concept removal",
        title=words.title(report),
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
    if not words.emptied(report):
        yield limits(report)
    yield from change(report, gallery)
    yield from record(report)
