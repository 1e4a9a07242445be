"""The loader of judges, attacks and detectors."""

from collections.abc import Callable
from typing import Any

import pytest

from api_schemas.attacks import ATTACK_TITLES
from api_schemas.detectors import Detectors
from editor.errors import AttackError, DetectorError, EditorError, JudgeError
from editor.judging.attacks import load_attack
from editor.judging.detectors import detector_class
from editor.judging.judge import judge_class
from editor.judging.judges.clip import ClipJudge
from editor.judging.plugins import ATTACKS, DETECTORS, JUDGES, list_names, load
from tests.editor.judging.conftest import InstallPlugin

PLANTED = "class Planted:\n    pass\n"


def test_built_in_plugins_are_declared() -> None:
    assert list_names(JUDGES) == ["clip", "siglip", "siglip2"]
    assert set(list_names(ATTACKS)) == set(ATTACK_TITLES)
    assert list_names(DETECTORS) == list(Detectors.model_fields)


@pytest.mark.parametrize(("group", "key"), [(JUDGES, "model_type"), (ATTACKS, "name"), (DETECTORS, "name")])
def test_every_declared_class_can_be_imported(group: str, key: str) -> None:
    for name in list_names(group):
        assert name == getattr(load(group, name), key)


def test_another_distribution_adds_a_plugin(install_plugin: InstallPlugin) -> None:
    install_plugin("expunge.attacks", "planted", PLANTED)
    assert "planted" in list_names(ATTACKS)
    assert load(ATTACKS, "planted").__module__ == "planted_plugin"


def test_another_distribution_does_not_replace_a_built_in_plugin(install_plugin: InstallPlugin) -> None:
    install_plugin("expunge.judges", "clip", PLANTED)
    assert load(JUDGES, "clip") is ClipJudge


@pytest.mark.parametrize(
    ("load_plugin", "error", "field", "known"),
    [
        (judge_class, JudgeError, "EXPUNGE_JUDGE", "clip, siglip, siglip2"),
        (load_attack, AttackError, "validation.attacks.plugins.absent", "resurgence"),
        (detector_class, DetectorError, "validation.detectors", "nudenet"),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_names(
    load_plugin: Callable[[str], Any], error: type[EditorError], field: str | None, known: str
) -> None:
    with pytest.raises(error, match="'absent'") as caught:
        load_plugin("absent")
    assert caught.value.field == field
    assert known in str(caught.value.remedy)
