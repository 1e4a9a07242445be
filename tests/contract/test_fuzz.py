"""A short version of `make schemathesis`."""

from tests.contract.fuzz import fuzz


def test_generated_requests_cause_no_errors() -> None:
    outcome = fuzz(examples=1, seed=1, phases="examples,fuzzing")
    assert outcome.failures == 0, outcome.output[-6000:]
    assert outcome.cases > 50
