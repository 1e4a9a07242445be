import math
import random
import re

import pytest

from research.results.risk_curves import RiskRow, fit_logistic, named_in, render, shows_removed


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
    assert named_in("a picture of a fire engine, noto style", "object") == "fire engine"
    assert named_in("ink style picture of a fox", "object") == "fox"
    assert named_in("ink style picture of a fox", "style") == "ink"
    assert named_in("a fox", "style") == "twemoji"


def test_a_removed_concept_is_shown_where_another_one_was_wanted() -> None:
    named, wanted = ("fox", "noto"), ("dog face", "noto")
    assert shows_removed(("fox", "ink"), named, wanted)
    assert not shows_removed(("dog face", "noto"), named, wanted)
    assert not shows_removed(("horse", "noto"), named, wanted)
    assert shows_removed(("fox", "noto"), named, ("fox", "ink"))


@pytest.mark.parametrize("model", ["emoji", "emoji-dit"])
def test_bins_show_the_shares_of_images(model: str) -> None:
    points = [(0.25, number < 5) for number in range(20)] + [(0.65, number > 1) for number in range(20)]
    row = RiskRow(model=model, removed="ink", preservation=1.0, spoiled=points, missed=points[:10], found=points)
    page = render([row])
    assert re.search(r"\| 0.2 to 0.3 \| 0.250 \| 0.\d{3} \|  \| 0.\d{3} \| 0.250 \|", page)
    assert "| 0.6 to 0.7 | 0.900 |" in page
    assert f"`{model}`, 50 images: ink; weights 1." in page
