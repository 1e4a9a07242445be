"""What can't stand in one ledger together."""

from typing import Any

from api_schemas.conflicts import Conflict, LabelledRemoval
from editor.errors import LedgerConflict
from editor.ledger.ledger import Ledger
from editor.prompts.conflicts import find_conflicts


def conflicts_of(ledger: Ledger, tokenizer: Any) -> list[Conflict]:
    """All conflicts among the active removals, errors first; each is called by its label, or by its digest."""
    labelled = [
        LabelledRemoval(entry.label or entry.digest[:12], entry.removal, tuple(entry.options.pins))
        for entry in ledger.by_digest.values()
    ]
    return find_conflicts(labelled, tokenizer)


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
