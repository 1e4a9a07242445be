"""The report as one HTML file: pictures inside, no scripts, nothing fetched, fit for print and for screen readers."""

import base64
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from api_schemas.report import AuditReport
from editor.publishing import words
from editor.publishing.figures import KINDS, Picture

TEMPLATES = Path(__file__).parent / "templates"


def data_uri(picture: Picture) -> str:
    """The picture as text, for an ``img``."""
    return f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"


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
        "percent": words.percent,
        "share": words.share,
        "number": words.number,
        "check_name": words.check_name,
        "destination": words.destination,
        "data_uri": data_uri,
    }
    return jinja


def render(report: AuditReport, pictures: Sequence[Picture]) -> str:
    """The whole page. Pictures find their place by name: ``samples…``, ``trace-N``, ``trade-off-N``."""
    template = environment().get_template("report.html.j2")
    return template.render(
        report=report, words=words, kinds=KINDS, pictures={picture.name: picture for picture in pictures}
    )
