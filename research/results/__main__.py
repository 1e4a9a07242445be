"""The command line: ``python -m research.results [SECTION...]``."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, TypeAdapter
from tqdm import tqdm

from editor.io.atomic import write_bytes
from research.harness import SAMPLER, Studio
from research.results import (
    aim_and_layer,
    attacks_and_scores,
    attacks_and_scores_page,
    collateral_forecast,
    diffusion_features,
    multi_concept,
    service_load,
    service_reliability,
    service_scaleout,
    single_concept,
    steering,
)


@dataclass(frozen=True)
class Section:
    """A measurement: its figures as rows, and how they read."""

    row: type[BaseModel]
    measure: Callable[[Studio], Iterator[Any]]
    page: Callable[[list[Any]], str]
    pictures: Callable[[list[Any]], dict[str, bytes]] = field(default=lambda rows: {})
    """Files that the page shows, in ``docs/images``."""

    def read(self, file: Path) -> list[Any]:
        """The rows that were measured last; none where nothing was."""
        return TypeAdapter(list[self.row]).validate_json(file.read_bytes()) if file.exists() else []  # type: ignore[name-defined]


SECTIONS = {
    "single": Section(single_concept.Row, single_concept.measure, single_concept.page),
    "crowd": Section(multi_concept.Row, multi_concept.measure, multi_concept.page),
    "foreseen": Section(collateral_forecast.Row, collateral_forecast.measure, collateral_forecast.page),
    "methods": Section(aim_and_layer.Row, aim_and_layer.measure, aim_and_layer.page),
    "diffusion_features": Section(
        diffusion_features.Row, diffusion_features.measure, diffusion_features.page, diffusion_features.pictures
    ),
    "judged": Section(attacks_and_scores.Row, attacks_and_scores.measure, attacks_and_scores_page.page),
    "steering": Section(steering.Row, steering.measure, steering.page),
    "load": Section(service_load.Row, service_load.measure, service_load.page),
    "scaleout": Section(service_scaleout.Row, service_scaleout.measure, service_scaleout.page),
    "reliability": Section(service_reliability.Row, service_reliability.measure, service_reliability.page),
}
TEXT = f"""# Results

Written by `python -m research.results`, from figures in `docs/results/`. All but the last three are of the embedded
model, drawn with {SAMPLER.steps} steps at guidance {SAMPLER.guidance:g} and judged by the separate judge.
Where the model keeps its concepts is measured in [tracing results](tracing-results.md).
"""


def page(folder: Path) -> str:
    """The document, from the figures in a folder."""
    measured = [(section, section.read(folder / f"{name}.json")) for name, section in SECTIONS.items()]
    return "\n".join([TEXT, *(f"{section.page(rows)}\n" for section, rows in measured if rows)])


def main() -> None:
    """Measure what is asked for, all by default, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", default=list(SECTIONS), metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--cache", type=Path, default=Path("build/images"))
    arguments = parser.parse_args()
    studio, folder = Studio(arguments.cache), arguments.docs / "results"
    for name in arguments.sections:
        section = SECTIONS[name]
        rows = list(tqdm(section.measure(studio), desc=name))
        write_bytes(folder / f"{name}.json", TypeAdapter(list[Any]).dump_json(rows, indent=1) + b"\n")
        write_bytes(arguments.docs / "reference" / "results.md", page(arguments.docs / "results").encode())
        for file, content in section.pictures(rows).items():
            write_bytes(arguments.docs / "images" / file, content)
    if "foreseen" in arguments.sections:
        middle, steepness = collateral_forecast.fit(SECTIONS["foreseen"].read(folder / "foreseen.json"))
        tqdm.write(f"fitted forecast: middle {middle:.3f}, steepness {steepness:.1f}")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
