"""Measure the result tables of the documentation: ``python -m research.results [SECTION...]``."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, TypeAdapter
from tqdm import tqdm

from editor.io.atomic import write_bytes
from research.harness import SAMPLER, EmbeddedModel
from research.results import (
    aim_and_layer,
    attacks_and_scores,
    attacks_and_scores_page,
    collateral_forecast,
    diffusion_features,
    false_passes,
    multi_concept,
    service_load,
    service_reliability,
    service_scaleout,
    single_concept,
    steering,
)


@dataclass(frozen=True)
class Section:
    """One section of the results page: how its rows are measured and rendered."""

    row: type[BaseModel]
    measure: Callable[[EmbeddedModel], Iterator[Any]]
    render: Callable[[list[Any]], str]
    render_images: Callable[[list[Any]], dict[str, bytes]] = field(default=lambda rows: {})
    """Returns the images of the section by file name in ``docs/images``."""

    def load(self, file: Path) -> list[Any]:
        """Load the rows of the last measurement; none if there was none."""
        return TypeAdapter(list[self.row]).validate_json(file.read_bytes()) if file.exists() else []  # type: ignore[name-defined]


SECTIONS = {
    "single": Section(single_concept.SingleConceptRow, single_concept.measure, single_concept.render),
    "crowd": Section(multi_concept.MultiConceptRow, multi_concept.measure, multi_concept.render),
    "foreseen": Section(collateral_forecast.ForecastRow, collateral_forecast.measure, collateral_forecast.render),
    "methods": Section(aim_and_layer.MethodRow, aim_and_layer.measure, aim_and_layer.render),
    "diffusion_features": Section(
        diffusion_features.Study,
        diffusion_features.measure,
        diffusion_features.render,
        diffusion_features.render_images,
    ),
    "judged": Section(attacks_and_scores.RemovalRow, attacks_and_scores.measure, attacks_and_scores_page.render),
    "steering": Section(steering.SteeringRow, steering.measure, steering.render),
    "false_passes": Section(false_passes.FalsePassRow, false_passes.measure, false_passes.render),
    "load": Section(service_load.LoadRow, service_load.measure, service_load.render),
    "scaleout": Section(service_scaleout.ScaleoutRow, service_scaleout.measure, service_scaleout.render),
    "reliability": Section(service_reliability.ReliabilityRow, service_reliability.measure, service_reliability.render),
}
TEXT = f"""# Results

Written by `python -m research.results` from the figures in `docs/results/`. All sections but the last three are about the
embedded model; its images have {SAMPLER.steps} steps and guidance {SAMPLER.guidance:g}, and are judged by the separate judge.
[Tracing results](tracing-results.md) show where the model stores its concepts.
"""


def render_page(folder: Path) -> str:
    """Render the page from the figures in a folder."""
    sections = [(section, section.load(folder / f"{name}.json")) for name, section in SECTIONS.items()]
    return "\n".join([TEXT, *(f"{section.render(rows)}\n" for section, rows in sections if rows)])


def main() -> None:
    """Measure the given sections, by default all, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", default=list(SECTIONS), metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of the documentation")
    parser.add_argument("--cache", type=Path, default=Path("build/images"), help="cache of the base model's images")
    arguments = parser.parse_args()
    model, folder = EmbeddedModel(arguments.cache), arguments.docs / "results"
    for name in arguments.sections:
        section = SECTIONS[name]
        rows = list(tqdm(section.measure(model), desc=name))
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
