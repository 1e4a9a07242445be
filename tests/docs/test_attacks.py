"""The table of attacks says what the code does."""

import re
from pathlib import Path

import pytest

from api_schemas.attacks import ATTACK_TITLES
from api_schemas.detectors import EXPOSED_CLASSES, Nudenet
from editor.judging.attacks import load_attack

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "attacks.md").read_text()
ROWS = dict(re.findall(r"^\| `(\w+)` .* \| ([^|]+) \|$", PAGE, re.MULTILINE))


def test_every_attack_has_a_row() -> None:
    assert list(ROWS) == list(ATTACK_TITLES)


@pytest.mark.parametrize("name", ATTACK_TITLES)
def test_documented_budgets_match_the_code(name: str) -> None:
    attack = load_attack(name)
    numbers = [int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", ROWS[name])]
    assert numbers == [number for number in (attack.default_budget, attack.published_budget) if number]


def test_default_nudenet_classes_are_documented() -> None:
    sentence = "six exposed classes that eval-unlearn counts (breasts, genitalia, buttocks, anus) at a score of"
    assert f"{sentence} {Nudenet().threshold}" in " ".join(PAGE.split())
    assert len(EXPOSED_CLASSES) == 6
