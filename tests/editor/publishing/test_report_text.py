"""What the report says about a removal."""

import pytest

from api_schemas.report import ReplacementCandidate
from editor.publishing.report_text import choice_reason
from tests.fakes.report import make_report


@pytest.mark.parametrize(
    ("costs", "similarity", "reason"),
    [
        ((None, None), None, "of those that nobody removed, it is forecast to change other prompts least"),
        (
            (0.4, None),
            0.8,
            "of the 1 that the judge tells apart from it and that are forecast to change other prompts least",
        ),
        ((None, 0.4), 0.8, "the better ones are removed, too"),
    ],
)
def test_report_says_why_an_automatic_replacement_was_chosen(
    costs: tuple[float | None, float | None], similarity: float | None, reason: str
) -> None:
    candidates = [
        ReplacementCandidate(name=name, change=0.1, cost=cost, similarity=similarity)
        for name, cost in zip(("owl", "bear"), costs, strict=True)
    ]
    removal = make_report("job", "fox").removals[0].model_copy(update={"destination": "owl", "candidates": candidates})
    assert choice_reason(removal).startswith(f" among 2 names: {reason}")


def test_report_says_nothing_about_a_replacement_that_was_not_compared() -> None:
    assert choice_reason(make_report("job", "fox").removals[0]) == ""
