"""The report as one HTML file: pictures inside, no scripts, nothing fetched, fit for print and for screen readers."""

import base64
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from api_schemas.report import AuditReport
from editor.io.plotting import Chart, Figure, Picture
from editor.publishing import report_text
from editor.publishing.document.assemble import document

TEMPLATES = Path(__file__).parent / "templates"


def data_uri(picture: Picture) -> str:
    """The picture as text, for an ``img``."""
    return f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"


def inline(chart: Chart) -> Markup:
    """The chart itself: our own markup, in which the plotting library has escaped every label."""
    return Markup(chart.svg)


def kind(block: object) -> str:
    """Which macro shows a block."""
    return type(block).__name__


def environment() -> Environment:
    """Templates escape everything: concepts and model names are written by strangers."""
    jinja = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters |= {
        "share": report_text.share,
        "percent": report_text.percent,
        "data_uri": data_uri,
        "inline": inline,
        "kind": kind,
    }
    return jinja


def render(report: AuditReport, figures: Sequence[Figure]) -> str:
    """The whole page."""
    template = environment().get_template("report.html.j2")
    return template.render(document=document(report, figures), words=report_text)
