"""Groups and checks, with images that need no model: a planted judge reads them off their pixels."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from api_schemas.edits import Thresholds
from api_schemas.report import GroupScore
from editor.judging.groups import Group, all_groups, retain_groups, seen
from editor.judging.sampling import Shot
from editor.judging.validation import Drawn, check, score, shots_of
from editor.prompts import Concept, Destination, PromptBook, Removal
from editor.prompts.concepts import Phrase

FOX = Removal(Concept("fox"), Destination("dog face", "replacement"), aliases=("vixen",))
NAMES = ["fox", "dog face", "pizza"]


@dataclass(frozen=True)
class PlantedJudge:
    """Sees the name whose index is in the first pixel; finds words alike that share letters."""

    profile: Any
    known: dict[str, int] = field(default_factory=dict)

    def describe(self, asks: str, name: str) -> Tensor:
        return torch.tensor([[float(letter in name) for letter in "abcdefghijklmnopqrstuvwxyz"]])

    def names(self, asks: str, extra: Any = ()) -> list[str]:
        return list(dict.fromkeys([*NAMES, *extra]))

    def images(self, images: list[np.ndarray]) -> Tensor:
        return torch.tensor([int(image[0, 0, 0]) for image in images])

    def recognise(self, asks: str, embedded: Tensor, names: list[str]) -> tuple[list[str], Tensor]:
        return [names[i] for i in embedded.tolist()], torch.nn.functional.one_hot(embedded, len(names)).float()


def picture(name: str) -> np.ndarray:
    return np.full((4, 4, 3), NAMES.index(name), dtype=np.uint8)


def scored(before: list[str], after: list[str], group: str = "target") -> GroupScore:
    """A group of prompts about a fox, whose images show these names."""
    phrases = tuple(Phrase("{a}", "fox", "", f" {i}") for i in range(len(before)))
    made = Group(group, 0, "object", phrases, "fox")  # type: ignore[arg-type]
    shots = shots_of([made], [0])
    drawn = Drawn(
        dict(zip(shots, map(picture, before), strict=True)), dict(zip(shots, map(picture, after), strict=True))
    )
    return score(PlantedJudge(None), made, drawn, [0], 0.95)  # type: ignore[arg-type]


def test_a_concept_that_is_gone_passes() -> None:
    done = scored(["fox"] * 10, ["dog face"] * 10)
    assert (done.accuracy_before.value, done.accuracy_after.value, done.accuracy_drop.value) == (1, 0, 1)
    assert check(done, Thresholds()).outcome == "passed"


def test_a_concept_that_is_still_there_fails() -> None:
    assert check(scored(["fox"] * 10, ["fox"] * 9 + ["pizza"]), Thresholds()).outcome == "failed"


def test_a_concept_that_was_never_drawn_proves_nothing() -> None:
    assert check(scored(["pizza"] * 10, ["pizza"] * 10), Thresholds()).outcome == "inconclusive"


def test_what_must_stay_is_judged_by_its_paired_drop() -> None:
    same = scored(["fox"] * 5 + ["pizza"] * 5, ["fox"] * 5 + ["pizza"] * 5, "retain")
    assert check(same, Thresholds()).outcome == "passed"
    lost = scored(["fox"] * 10, ["pizza"] * 10, "retain")
    assert check(lost, Thresholds()).outcome == "failed"
    one = scored(["fox"] * 10, ["fox"] * 9 + ["pizza"], "retain")
    assert check(one, Thresholds()).outcome == "inconclusive"


@pytest.fixture
def groups(book: PromptBook) -> list[Group]:
    return all_groups(book, PlantedJudge(book.profile), [FOX], 40)  # type: ignore[arg-type]


def test_an_alias_is_judged_as_the_concept(groups: list[Group]) -> None:
    target = groups[0]
    assert any("vixen" in prompt for prompt in target.prompts)
    assert set(target.truths) == {"fox"}


def test_groups_are_about_what_they_say(groups: list[Group], book: PromptBook) -> None:
    by_name = {(group.name, group.asks): group for group in groups}
    edited = {phrase.text() for phrase in seen(book, FOX, "fox")} | {
        phrase.text() for phrase in seen(book, FOX, "vixen")
    }
    assert set(by_name["target", "object"].prompts) <= edited
    assert edited.isdisjoint(by_name["generality", "object"].prompts)
    for name in ("neighbours", "retain"):
        assert not any("fox" in prompt or "vixen" in prompt for prompt in by_name[name, "object"].prompts)
    assert by_name["retain", "object"].prompts == by_name["retain", "style"].prompts
    assert len(by_name["retain", "style"].prompts) == 40


def test_nothing_to_retain_is_no_group(book: PromptBook) -> None:
    assert retain_groups(book, [FOX], 0) == []


def test_prompts_of_several_groups_are_drawn_once(groups: list[Group]) -> None:
    shots = shots_of(groups, [3, 4])
    assert len(shots) == len(set(shots))
    assert {shot.seed for shot in shots} == {3, 4}
    assert isinstance(shots[0], Shot)
