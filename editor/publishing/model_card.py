"""The model card of the edited model: Markdown with the front matter that model hubs read."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from api_schemas.report import AuditReport
from editor.io.plotting import Figure
from editor.publishing import report_text
from editor.publishing.html import environment

WITH_PROJECTION = {("sdxl", "text_encoder_2"), ("sd3", "text_encoder"), ("sd3", "text_encoder_2")}
"""Families and components whose text encoder is transformers' class with the pooled projection."""
PUNCTUATION = re.compile(r"([\\`*_\[\]#+\-!|~$])")


def markdown(text: str) -> str:
    """Text that Markdown shows as it is: one line, no markup, no table cells. The template escapes HTML besides."""
    return PUNCTUATION.sub(r"\\\1", " ".join(text.split()))


@dataclass(frozen=True)
class Part:
    """An edited text encoder that is published whole, and the class of transformers that loads it."""

    component: str
    model: str


def parts(report: AuditReport) -> list[Part]:
    """The edited text encoders of a folder; a single-file checkpoint has none of its own."""
    folders = {artifact.name.rpartition("/")[0] for artifact in report.artifacts if artifact.kind == "weights"}
    found = sorted(folders & {solve.component for solve in report.solves})
    pooled = {name: (report.model.family, name) in WITH_PROJECTION for name in found}
    return [Part(name, "CLIPTextModelWithProjection" if pooled[name] else "CLIPTextModel") for name in found]


def render_card(report: AuditReport, pictures: Sequence[Figure]) -> str:
    """The card. Pictures are linked as ``figures/<name>.png``."""
    jinja = environment()
    jinja.filters["markdown"] = markdown
    return jinja.get_template("card.md.j2").render(
        report=report, words=report_text, pictures=pictures, parts=parts(report)
    )
