"""Find removals that contradict one another in a ledger."""

from collections.abc import Iterable
from typing import Any

from api_schemas.conflicts import Conflict, LabelledRemoval
from editor.errors import LedgerConflict
from editor.ledger.entry import LedgerEntry
from editor.ledger.ledger import Ledger
from editor.prompts.token_conflicts import find_conflicts


def find_ledger_conflicts(ledger: Ledger, tokenizer: Any) -> list[Conflict]:
    """Return all conflicts among the active removals, errors first, that names and a tokenizer reveal."""
    return find_conflicts(labelled_removals(ledger), tokenizer)


def labelled_removals(ledger: Ledger) -> list[LabelledRemoval]:
    """Return the active removals with their labels in conflict messages."""
    return [
        LabelledRemoval(entry.name, entry.removal, tuple(entry.options.pins)) for entry in ledger.by_digest.values()
    ]


def conflicts_involving(conflicts: Iterable[Conflict], entries: Iterable[LedgerEntry]) -> list[Conflict]:
    """Return the conflicts that involve one of ``entries``."""
    names = {entry.name for entry in entries}
    return [conflict for conflict in conflicts if {conflict.left.label, conflict.right.label} & names]


def check_conflicts(ledger: Ledger, tokenizer: Any) -> list[Conflict]:
    """Return the warnings about the active removals.

    Raises:
        LedgerConflict: two active removals contradict each other.
    """
    conflicts = find_ledger_conflicts(ledger, tokenizer)
    errors = [conflict for conflict in conflicts if conflict.severity == "error"]
    if errors:
        raise LedgerConflict(errors)
    return conflicts
