"""Render the report as one HTML file: images embedded, no scripts, nothing fetched, fit for print and screen readers."""

from collections.abc import Sequence

from api_schemas.report import AuditReport
from editor.io.figures import Figure
from editor.publishing import report_text
from editor.publishing.document.assemble import build_document
from editor.publishing.template_environment import template_environment


def render_html(report: AuditReport, figures: Sequence[Figure]) -> str:
    """Return the page."""
    template = template_environment().get_template("report.html.j2")
    return template.render(document=build_document(report, figures), words=report_text)
