"""The operator's file of bases, and the notices and templates that it describes."""

from pathlib import Path

import pytest

from api_schemas.cases_requests import Notice
from api_schemas.errors import UsageError
from service.core.cases.bases import EXAMPLES, load_rules
from service.errors import InvalidRequest


def test_examples_have_every_basis_and_say_that_counsel_must_sign_them_off() -> None:
    rules = load_rules(None)
    assert set(rules.bases) == {"us-tida", "eu-dsa", "us-dmca", "eu-gdpr", "order", "policy"}
    assert all("have counsel sign this off" in basis.note for basis in rules.bases.values())
    assert all({"action", "complaint_window", "retention"} <= set(basis.clocks) for basis in rules.bases.values())
    assert not rules.bases["order"].statement


def test_required_fields() -> None:
    notice = Notice(signature="x", locations=["y"])
    assert load_rules(None).missing_fields(["us-tida", "us-dmca"], notice) == [
        "allegation",
        "concept",
        "notifier.email",
        "statements.accuracy",
        "statements.good_faith",
        "statements.perjury",
    ]
    with pytest.raises(InvalidRequest) as raised:
        load_rules(None).missing_fields(["uk-osa"], notice)
    assert raised.value.errors[0].field == "bases"


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('action = "48 hours"', 'action = "two days"', "bases.us-tida.clocks.action"),
        ('calendar = "us"', 'calendar = "moon"', "bases.us-tida.calendar"),
        ('"notifier.email"]', '"notifier.shoe"]', "bases.us-tida.required"),
        ('zone = "America/New_York"', 'zone = "America/Nowhere"', "calendars.us.zone"),
        ("reviewers = 1", "reviewers = 3", "bases.us-tida.reviewers"),
        ("{finding}", "{found}", "templates.likeness"),
        ("reviewers = 1", "reviewer = 1", "bases.us-tida"),
        ("[bases.us-tida]", "[bases.us-tida", "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, old: str, new: str, named: str) -> None:
    file = tmp_path / "bases.toml"
    file.write_text(EXAMPLES.read_text().replace(old, new, 1))
    with pytest.raises(UsageError) as raised:
        load_rules(file)
    assert named in raised.value.message
    assert raised.value.field == "case_bases"
