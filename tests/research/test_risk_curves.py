import math
import random

import pytest

from research.results.risk_curves import RiskRow, fit_logistic, named_object, render


def test_a_planted_curve_is_found() -> None:
    generator = random.Random(1)
    points = [
        (distance, generator.random() < 1 / (1 + math.exp(-9 * (distance - 0.6))))
        for distance in (generator.random() for _ in range(20000))
    ]
    midpoint, steepness = fit_logistic(points)
    assert midpoint == pytest.approx(0.6, abs=0.02)
    assert steepness == pytest.approx(9, rel=0.1)


def test_the_longest_name_in_a_prompt_is_its_object() -> None:
    assert named_object("a picture of a fire engine, noto style") == "fire engine"
    assert named_object("ink style picture of a fox") == "fox"


def test_bins_show_the_shares_of_images() -> None:
    points = [(0.25, number < 5) for number in range(20)] + [(0.65, number > 1) for number in range(20)]
    page = render([RiskRow(removals=1, preservation=1.0, spoiled=points, missed=points[:10], found=points)])
    assert "| 0.2 to 0.3 | 0.250 |  |" in page
    assert "| 0.6 to 0.7 | 0.900 |  |" in page
    assert "50 images" in page
