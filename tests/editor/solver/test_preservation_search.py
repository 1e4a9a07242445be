"""Removals that lag count more: held against what is left of each, and against sums made the long way."""

import pytest
import torch

from editor.checkpoints import TextEncoder
from editor.methods import layer_edit as tasks
from editor.methods.default import edit, settled
from editor.methods.layer_edit import Task, canonical
from editor.prompts import Concept, Destination, PromptBook, Removal
from editor.sites.key_value_pairs import Site
from editor.sites.lazy_clip import Tower
from editor.solver.config import DEFAULT
from editor.solver.preservation_search import MOST, stress_of

NAMES = ("fox", "pizza", "owl", "rocket", "violin")
MANY = canonical(Removal(Concept(name), Destination("dog face", "replacement")) for name in NAMES)


@pytest.fixture
def task(source: TextEncoder, book: PromptBook) -> Task:
    tower = Tower(source)
    return Task(Site(tower, tower, 0), book, MANY, DEFAULT)


def test_only_what_lags_counts_more_and_not_without_end() -> None:
    stress = stress_of(MANY, torch.tensor([0.1, 0.1, 0.1, 0.2, 2.0]))
    assert stress == {MANY[4]: MOST}
    assert stress_of(MANY, torch.full((5,), 0.3)) == {}
    (_, nearly), (_, twice) = stress_of(MANY, torch.tensor([0.2, 0.2, 0.2, 0.32, 0.35])).items()
    assert 1 < nearly < twice < 2.25


def test_the_worst_is_less_left_or_the_drift_is_smaller(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    _, evened, stress = settled(task)
    monkeypatch.setattr(tasks, "EACH", 0)
    _, plain, none = settled(Task(task.site, task.book, MANY, DEFAULT))
    assert stress
    assert not none
    assert evened.cost < plain.cost


def test_stressed_statistics_are_those_of_repeated_removals(task: Task) -> None:
    sums = {removal: task.sums_of(removal).statistics for removal in MANY}
    stress = {MANY[0]: 1.5, MANY[3]: 2.25}
    under = task.statistics_under(stress)
    for part in ("moment", "target"):
        expected = sum(getattr(sums[removal], part) * stress.get(removal, 1.0) for removal in MANY)
        torch.testing.assert_close(getattr(under, part), expected, rtol=1e-6, atol=1e-6)


def test_columns_and_sums_are_stressed_alike(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    stress = {MANY[1]: 1.75}
    monkeypatch.setattr(Task, "few", [(removal, pair) for removal in MANY for pair in task.book.edit_pairs(removal)])
    direct, summed = task.columns_under(stress).statistics(), task.statistics_under(stress)
    torch.testing.assert_close(direct.moment, summed.moment, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(direct.target, summed.target, rtol=1e-5, atol=1e-5)


def test_the_record_tells_the_weights(source: TextEncoder, book: PromptBook, task: Task) -> None:
    (done,) = edit(source, book, MANY)
    _, _, stress = settled(task)
    expected = {removal.concept.name: pytest.approx(stress.get(removal, 1.0)) for removal in MANY}
    assert {told.concept: told.weight for told in done.record.feasibility} == expected
