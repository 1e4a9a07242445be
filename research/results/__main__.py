"""Measure the result tables of the documentation: ``python -m research.results [SECTION...]``."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, TypeAdapter
from tqdm import tqdm

from editor.emoji.locate import EMBEDDED_MODELS
from editor.io.atomic import write_bytes
from research.harness import SAMPLER, EmbeddedModel
from research.results import (
    aim_and_layer,
    attacks_and_scores,
    attacks_and_scores_page,
    collateral_forecast,
    diffusion_features,
    false_passes,
    joint_requests,
    methods,
    multi_concept,
    pass_rate,
    risk_curves,
    service_load,
    service_reliability,
    service_scaleout,
    single_concept,
    steering,
    text_routes,
)


@dataclass(frozen=True)
class Section:
    """One section of the results page: how its rows are measured and rendered."""

    source: str
    """What the figures are, as the page says below the heading."""
    row: type[BaseModel]
    measure: Callable[[EmbeddedModel], Iterator[Any]]
    render: Callable[[list[Any]], str]
    render_images: Callable[[list[Any]], dict[str, bytes]] = field(default=lambda rows: {})
    """Returns the images of the section by file name in ``docs/images``."""

    def load(self, file: Path) -> list[Any]:
        """Load the rows of the last measurement; none if there was none."""
        return TypeAdapter(list[self.row]).validate_json(file.read_bytes()) if file.exists() else []  # type: ignore[name-defined]


ORDINARY = "Read from the reports of ordinary requests: held-out prompts, the gates of the default policy."
EDITS = (
    "A study of edits, not of requests: prompts are a fixed sample, at least half of them in wordings that the edit saw, about "
    "the concept as about everything else. No gate decides, and held-out wordings lose more; what the product claims is in the "
    "reports of requests."
)
TEXT_SPACE = "A study in text space, without images or gates."
SERVICE = "A measurement of the service; no model is judged."
SECTIONS = {
    "pass_rate": Section(ORDINARY, pass_rate.PassRateRow, pass_rate.measure, pass_rate.render),
    "joint": Section(ORDINARY, joint_requests.JointRow, joint_requests.measure, joint_requests.render),
    "single": Section(EDITS, single_concept.SingleConceptRow, single_concept.measure, single_concept.render),
    "crowd": Section(EDITS, multi_concept.MultiConceptRow, multi_concept.measure, multi_concept.render),
    "foreseen": Section(
        EDITS, collateral_forecast.ForecastRow, collateral_forecast.measure, collateral_forecast.render
    ),
    "risk_curves": Section(EDITS, risk_curves.RiskRow, risk_curves.measure, risk_curves.render),
    "routes": Section(EDITS, text_routes.RouteRow, text_routes.measure, text_routes.render),
    "methods": Section(TEXT_SPACE, methods.MethodRow, methods.measure, methods.render),
    "aims": Section(TEXT_SPACE, aim_and_layer.AimRow, aim_and_layer.measure, aim_and_layer.render),
    "diffusion_features": Section(
        "A study of the unedited model.",
        diffusion_features.Study,
        diffusion_features.measure,
        diffusion_features.render,
        diffusion_features.render_images,
    ),
    "judged": Section(EDITS, attacks_and_scores.RemovalRow, attacks_and_scores.measure, attacks_and_scores_page.render),
    "steering": Section("A study of the unedited model.", steering.SteeringRow, steering.measure, steering.render),
    "false_passes": Section(
        "A simulation: no model, no images.", false_passes.FalsePassRow, false_passes.measure, false_passes.render
    ),
    "load": Section(SERVICE, service_load.LoadRow, service_load.measure, service_load.render),
    "scaleout": Section(SERVICE, service_scaleout.ScaleoutRow, service_scaleout.measure, service_scaleout.render),
    "reliability": Section(
        SERVICE, service_reliability.ReliabilityRow, service_reliability.measure, service_reliability.render
    ),
}
TEXT = f"""# Results

Written by `python -m research.results` from the figures in `docs/results/`; with the name of a section, such as `pass_rate` or
`single`, it measures that one alone. All sections but the last four are about the
embedded model; its images have {SAMPLER.steps} steps and guidance {SAMPLER.guidance:g}, and are judged by the separate judge.
[Tracing results](tracing-results.md) show where the model stores its concepts. Below each heading it says whether the figures
come from the reports of ordinary requests, which is what the product claims, or from a study.
"""


def render_page(folder: Path) -> str:
    """Render the page from the figures in a folder."""
    sections = [(section, section.load(folder / f"{name}.json")) for name, section in SECTIONS.items()]
    return "\n".join([TEXT, *(f"{render_section(section, rows)}\n" for section, rows in sections if rows)])


def render_section(section: Section, rows: list[Any]) -> str:
    """Render a section, with its source below the heading."""
    heading, _, text = section.render(rows).partition("\n")
    return f"{heading}\n\n*{section.source}*\n{text}"


def main() -> None:
    """Measure the given sections, by default all, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", default=list(SECTIONS), metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of the documentation")
    parser.add_argument("--cache", type=Path, default=Path("build/images"), help="cache of the base model's images")
    part = parser.add_argument_group("pass_rate")
    part.add_argument("--model", default="emoji", choices=list(EMBEDDED_MODELS), help="model to edit")
    part.add_argument("--only", nargs="+", default=[], metavar="CONCEPT", help="measure these concepts only")
    part.add_argument("--objects", type=int, metavar="N", help="measure N evenly spaced objects")
    part.add_argument(
        "--shard", type=pass_rate.parse_shard, default=(1, 1), metavar="I/N", help="measure one part of N"
    )
    part.add_argument("--reports", type=Path, default=pass_rate.REPORTS, help="folder of finished reports")
    arguments = parser.parse_args()
    model, folder = EmbeddedModel(arguments.cache), arguments.docs / "results"
    for name in arguments.sections:
        section, measure = SECTIONS[name], SECTIONS[name].measure
        if name == "pass_rate":
            selection = pass_rate.Selection(arguments.model, arguments.only, arguments.objects, arguments.shard)
            measure = partial(pass_rate.measure, selection=selection, reports=arguments.reports)
        rows = list(tqdm(measure(model), desc=name))
        write_bytes(folder / f"{name}.json", TypeAdapter(list[Any]).dump_json(rows, indent=1) + b"\n")
        write_bytes(arguments.docs / "reference" / "results.md", render_page(folder).encode())
        for file, content in section.render_images(rows).items():
            write_bytes(arguments.docs / "images" / file, content)
    if "foreseen" in arguments.sections:
        middle, steepness = collateral_forecast.fit_curve(SECTIONS["foreseen"].load(folder / "foreseen.json"))
        tqdm.write(f"fitted forecast: middle {middle:.3f}, steepness {steepness:.1f}")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
