"""Render the model card of the edited model: Markdown with the front matter that model hubs read."""

from collections.abc import Sequence
from dataclasses import dataclass

from api_schemas.report import AuditReport
from editor.io.figures import Figure
from editor.publishing import report_text
from editor.publishing.template_environment import template_environment

PROJECTION_ENCODERS = {("sdxl", "text_encoder_2"), ("sd3", "text_encoder"), ("sd3", "text_encoder_2")}
"""Families and components whose text encoder is a ``CLIPTextModelWithProjection``."""


@dataclass(frozen=True)
class PublishedEncoder:
    """An edited text encoder that is published with its full weights, and the transformers class that loads it."""

    component: str
    model_class: str


def published_encoders(report: AuditReport) -> list[PublishedEncoder]:
    """Return the edited text encoders with their own weights file; a single-file checkpoint has none."""
    folders = {artifact.name.rpartition("/")[0] for artifact in report.artifacts if artifact.kind == "weights"}
    found = sorted(folders & {solve.component for solve in report.solves})
    pooled = {name: (report.model.family, name) in PROJECTION_ENCODERS for name in found}
    return [
        PublishedEncoder(name, "CLIPTextModelWithProjection" if pooled[name] else "CLIPTextModel") for name in found
    ]


def render_model_card(report: AuditReport, pictures: Sequence[Figure]) -> str:
    """Return the model card. Figures are linked as ``figures/<name>.png``."""
    template = template_environment().get_template("card.md.j2")
    return template.render(report=report, words=report_text, pictures=pictures, parts=published_encoders(report))
