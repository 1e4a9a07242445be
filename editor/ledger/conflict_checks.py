"""What can't stand in one ledger together."""

from collections.abc import Iterable
from typing import Any

from api_schemas.conflicts import Conflict, LabelledRemoval
from editor.errors import LedgerConflict
from editor.ledger.entry import Entry
from editor.ledger.ledger import Ledger
from editor.prompts.token_conflicts import find_conflicts


def conflicts_of(ledger: Ledger, tokenizer: Any) -> list[Conflict]:
    """All conflicts among the active removals, errors first, as far as names and a tokenizer tell."""
    return find_conflicts(labelled(ledger), tokenizer)


def labelled(ledger: Ledger) -> list[LabelledRemoval]:
    """The active removals with what conflicts call them."""
    return [
        LabelledRemoval(entry.name, entry.removal, tuple(entry.options.pins)) for entry in ledger.by_digest.values()
    ]


def touching(conflicts: Iterable[Conflict], entries: Iterable[Entry]) -> list[Conflict]:
    """Those that one of some removals is a party of."""
    names = {entry.name for entry in entries}
    return [conflict for conflict in conflicts if {conflict.left.label, conflict.right.label} & names]


def refuse_conflicts(ledger: Ledger, tokenizer: Any) -> list[Conflict]:
    """The warnings; an error is raised.

    Raises:
        LedgerConflict: two active removals contradict one another.
    """
    found = conflicts_of(ledger, tokenizer)
    errors = [conflict for conflict in found if conflict.severity == "error"]
    if errors:
        raise LedgerConflict(errors)
    return found
