"""The benchmark's removals are as many as it says, and stand in one ledger together."""

from itertools import islice

from api_schemas.conflicts import find_name_conflicts
from editor.bench.ledger import COUNT, removals
from editor.ledger import Ledger
from editor.ledger.conflict_checks import labelled_removals


def test_ten_thousand_removals_that_nothing_is_wrong_with() -> None:
    ledger = Ledger(base={}).add(islice(removals(), 10 * COUNT))
    assert len(ledger.by_digest) == 10 * COUNT
    assert not [conflict for conflict in find_name_conflicts(labelled_removals(ledger)) if conflict.severity == "error"]
