"""The model card of the edited model: Markdown with the front matter that model hubs read."""

import re
from collections.abc import Sequence

from api_schemas.report import AuditReport
from editor.publishing import words
from editor.publishing.figures import Picture
from editor.publishing.html import environment

PUNCTUATION = re.compile(r"([\\`*_\[\]#+\-!|~$])")


def markdown(text: str) -> str:
    """Text that Markdown shows as it is: one line, no markup, no table cells. The template escapes HTML besides."""
    return PUNCTUATION.sub(r"\\\1", " ".join(text.split()))


def render_card(report: AuditReport, pictures: Sequence[Picture]) -> str:
    """The card. Pictures are linked as ``figures/<name>.png``."""
    jinja = environment()
    jinja.filters["markdown"] = markdown
    return jinja.get_template("card.md.j2").render(report=report, words=words, pictures=pictures)
