"""Render the model card of the edited model: Markdown with the front matter that model hubs read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from api_schemas.report import AuditReport
from editor.checkpoints.denoiser import COMPONENTS as DENOISERS
from editor.io.figures import Figure
from editor.publishing import report_text
from editor.publishing.template_environment import template_environment

PROJECTION_ENCODERS = {("sdxl", "text_encoder_2"), ("sd3", "text_encoder"), ("sd3", "text_encoder_2")}
"""Families and components whose text encoder is a ``CLIPTextModelWithProjection``."""


@dataclass(frozen=True)
class PublishedComponent:
    """An edited component that is published with its full weights, and the class that loads it."""

    component: str
    library: Literal["diffusers", "transformers"]
    model_class: str


def published_components(report: AuditReport) -> list[PublishedComponent]:
    """Return the edited components with their own weights file; a single-file checkpoint has none."""
    folders = {artifact.name.rpartition("/")[0] for artifact in report.artifacts if artifact.kind == "weights"}
    return [
        describe_component(name, report.model.family)
        for name in sorted(folders & {solve.component for solve in report.solves})
    ]


def describe_component(name: str, family: str) -> PublishedComponent:
    """Return a component with the class that loads it."""
    if name in DENOISERS:
        return PublishedComponent(name, "diffusers", "AutoModel")
    is_pooled = (family, name) in PROJECTION_ENCODERS
    return PublishedComponent(name, "transformers", "CLIPTextModelWithProjection" if is_pooled else "CLIPTextModel")


def render_model_card(report: AuditReport, pictures: Sequence[Figure]) -> str:
    """Return the model card. Figures are linked as ``figures/<name>.png``."""
    template = template_environment().get_template("card.md.j2")
    return template.render(report=report, words=report_text, pictures=pictures, parts=published_components(report))
