"""The benchmark's removals are valid together in one ledger."""

from itertools import islice

from api_schemas.conflicts import find_name_conflicts
from editor.bench.ledger import REMOVALS, generate_entries
from editor.ledger import Ledger
from editor.ledger.conflict_checks import labelled_removals


def test_ten_thousand_removals_have_no_conflicts() -> None:
    ledger = Ledger(base={}).add(islice(generate_entries(), 10 * REMOVALS))
    assert len(ledger.by_digest) == 10 * REMOVALS
    assert not [conflict for conflict in find_name_conflicts(labelled_removals(ledger)) if conflict.severity == "error"]
