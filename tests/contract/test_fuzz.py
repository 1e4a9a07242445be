"""A short form of `make schemathesis`."""

from tests.contract.fuzz import fuzz


def test_no_made_up_request_finds_a_fault() -> None:
    outcome = fuzz(examples=1, seed=1, phases="examples,fuzzing")
    assert outcome.failures == 0, outcome.output[-6000:]
    assert outcome.cases > 50
