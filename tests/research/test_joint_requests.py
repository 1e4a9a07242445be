"""Requests with many removals, and the rows that are read off their reports."""

from research.results.joint_requests import make_rows, render, requests
from tests.research.test_pass_rate import make_report


def test_the_requests_are_those_of_the_issue() -> None:
    fifty, mixed = requests().values()
    assert len(fifty.removals) == 50
    objects = [one for one in mixed.removals if one.kind == "object"]
    assert (len(objects), len(mixed.removals)) == (28, 30)
    assert sum(one.replacement in (None, "auto") for one in objects) == 9


def test_a_row_has_the_mean_and_the_worst_gate_of_a_measure() -> None:
    request = requests()["50 objects, each with a replacement"]
    single = request.model_copy(update={"removals": request.removals[:1]})
    (row,) = make_rows("one", make_report(single), 3.0)
    assert (row.measure, row.worst, row.outcomes) == ("generality_accuracy", 0.0, {"passed": 1})
    assert "1 passed" in render([row])
