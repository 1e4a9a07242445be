"""The results page is rendered from the stored figures."""

from pathlib import Path

import pytest

from research.results.__main__ import SECTIONS, render_page
from research.results.collateral_forecast import ForecastRow, fit_curve

DOCS = Path(__file__).parents[2] / "docs"


def test_page_is_rendered_from_the_figures() -> None:
    assert (DOCS / "reference" / "results.md").read_text() == render_page(DOCS / "results")


def test_every_section_has_figures() -> None:
    assert {path.stem for path in (DOCS / "results").glob("*.json")} == set(SECTIONS)


def test_every_section_says_where_its_figures_come_from() -> None:
    page = render_page(DOCS / "results")
    assert page.count("\n## ") == sum(
        page.count(f"\n\n*{source}*\n") for source in {one.source for one in SECTIONS.values()}
    )


def test_fit_finds_the_curve_behind_the_losses() -> None:
    moved = [i / 200 for i in range(200)]
    lost = [1.0 if value > 0.4 else 0.0 for value in moved]
    lost[70], lost[90] = 1.0, 0.0  # not separable, or the steepness has no end
    row = ForecastRow(removals=1, preservation=1.0, change=moved, moved=moved, damage=moved, lost=lost)
    middle, steepness = fit_curve([row])
    assert middle == pytest.approx(0.4, abs=0.02)
    assert steepness > 10
