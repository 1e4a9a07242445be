"""The figures on the embedded model's page are those that were measured."""

import json
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "explanation" / "emoji.md").read_text()


def measured_accuracies() -> dict[str, float]:
    figures = json.loads((DOCS / "emoji.json").read_text())
    return {
        f"{who}, {what}": figures[who][f"{what}_accuracy"]
        for who in ("judge", "generator")
        for what in ("object", "style")
    }


@pytest.mark.parametrize("label", ["judge, object", "judge, style", "generator, object", "generator, style"])
def test_documented_accuracies_match_the_figures(label: str) -> None:
    (stated,) = re.findall(rf"^\| {label} \| ([0-9.]+) \|", PAGE, re.MULTILINE)
    assert float(stated) == pytest.approx(measured_accuracies()[label], abs=5e-4)


def test_documented_room_for_removals_matches_the_figures() -> None:
    room = json.loads((DOCS / "room.json").read_text())
    for width, curve in room["curves"].items():
        (row,) = re.findall(rf"^\| {width} \|(.*)\|$", PAGE, re.MULTILINE)
        stated = [float(cell) for cell in row.split("|")]
        figures = [curve[0]["kept_before"], *(point["kept_after"] for point in curve)]
        assert stated == pytest.approx(figures, abs=5e-4)
