"""Assemble the report as a document."""

from collections.abc import Iterator, Sequence

from api_schemas.report import AuditReport
from editor.io.figures import Figure
from editor.publishing import report_text
from editor.publishing.document.attacks_section import attack_sections
from editor.publishing.document.blocks import Document, FigureIndex, Section
from editor.publishing.document.edit_section import edit_sections
from editor.publishing.document.methods_section import limits_section, method_sections
from editor.publishing.document.results_section import result_sections
from editor.publishing.document.summary_section import summary_sections


def build_document(report: AuditReport, figures: Sequence[Figure]) -> Document:
    """Return the report as a document: verdict, evidence, limits, method, files."""
    return Document(
        kind="Audit report of a concept removal",
        title=report_text.title(report),
        verdict=report.verdict,
        summary=[*summary_sections(report)],
        sections=[*build_sections(report, FigureIndex(figures))],
        footer=f"Job {report.job_id}, {report.created_at.isoformat(timespec='seconds')}; "
        f"report schema {report.schema_version}.",
    )


def build_sections(report: AuditReport, figures: FigureIndex) -> Iterator[Section]:
    """Return every section after the summary."""
    yield from result_sections(report, figures)
    yield from attack_sections(report, figures)
    if not report_text.is_empty_ledger(report):
        yield limits_section(report)
    yield from edit_sections(report, figures)
    yield from method_sections(report)
