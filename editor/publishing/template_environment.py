"""The environment of the templates of page and model card, and their filters."""

import base64
import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from editor.io.figures import Chart, Picture
from editor.publishing import report_text

TEMPLATE_DIR = Path(__file__).parent / "templates"
MARKDOWN_PUNCTUATION = re.compile(r"([\\`*_\[\]#+\-!|~$])")


@cache
def template_environment() -> Environment:
    """Return the environment, which keeps the templates that it has compiled.

    Templates escape everything, because concepts and model names are untrusted.
    """
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
        "markdown": escape_markdown,
    }
    return jinja


def data_uri(picture: Picture) -> str:
    """Return a picture as the source of an ``img``."""
    return f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"


def inline_svg(chart: Chart) -> Markup:
    """Return a chart as markup. Who drew it has escaped every label."""
    return Markup(chart.svg)


def block_type(block: object) -> str:
    """Return the name of the macro that renders a block."""
    return type(block).__name__


def escape_markdown(text: str) -> str:
    """Escape text so that Markdown renders it literally, on one line. The template escapes HTML."""
    return MARKDOWN_PUNCTUATION.sub(r"\\\1", " ".join(text.split()))
