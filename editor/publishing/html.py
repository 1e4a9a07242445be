"""Render the report as one HTML file: images embedded, no scripts, nothing fetched, fit for print and screen readers."""

import base64
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from api_schemas.report import AuditReport
from editor.io.figures import Chart, Figure, Picture
from editor.publishing import report_text
from editor.publishing.document.assemble import build_document

TEMPLATE_DIR = Path(__file__).parent / "templates"


def data_uri(picture: Picture) -> str:
    """Return a picture as the source of an ``img``."""
    return f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"


def inline_svg(chart: Chart) -> Markup:
    """Return a chart as markup. The plotting library has escaped every label."""
    return Markup(chart.svg)


def block_type(block: object) -> str:
    """Return the name of the macro that renders a block."""
    return type(block).__name__


def make_environment() -> Environment:
    """Return the template environment. Templates escape everything, because concepts and model names are untrusted."""
    jinja = Environment(
        loader=FileSystemLoader(TEMPLATE_DIR),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters |= {
        "share": report_text.format_share,
        "percent": report_text.percent,
        "data_uri": data_uri,
        "inline": inline_svg,
        "kind": block_type,
    }
    return jinja


def render_html(report: AuditReport, figures: Sequence[Figure]) -> str:
    """Return the page."""
    template = make_environment().get_template("report.html.j2")
    return template.render(document=build_document(report, figures), words=report_text)
