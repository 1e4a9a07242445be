"""Find removals that contradict one another in a ledger."""

from collections.abc import Iterable
from typing import Any

from api_schemas.conflicts import Conflict, LabelledRemoval
from editor.errors import LedgerConflict
from editor.ledger.entry import LedgerEntry
from editor.ledger.ledger import Ledger
from editor.prompts.profile import Profile
from editor.prompts.token_conflicts import find_conflicts, label_removal


def find_ledger_conflicts(ledger: Ledger, tokenizer: Any, profile: Profile) -> list[Conflict]:
    """Return all conflicts among the active removals, errors first, that names, a tokenizer and a profile reveal."""
    return find_conflicts(labelled_removals(ledger, profile), tokenizer)


def labelled_removals(ledger: Ledger, profile: Profile | None = None) -> list[LabelledRemoval]:
    """Return the active removals with their labels in conflict messages; with a profile, their classes too."""
    entries = ledger.by_digest.values()
    return [label_removal(entry.name, entry.removal, profile, tuple(entry.options.pins)) for entry in entries]


def conflicts_involving(conflicts: Iterable[Conflict], entries: Iterable[LedgerEntry]) -> list[Conflict]:
    """Return the conflicts that involve one of ``entries``."""
    names = {entry.name for entry in entries}
    return [conflict for conflict in conflicts if {conflict.left.label, conflict.right.label} & names]


def check_conflicts(ledger: Ledger, tokenizer: Any, profile: Profile) -> list[Conflict]:
    """Return the warnings about the active removals.

    Raises:
        LedgerConflict: two active removals contradict each other.
    """
    conflicts = find_ledger_conflicts(ledger, tokenizer, profile)
    errors = [conflict for conflict in conflicts if conflict.severity == "error"]
    if errors:
        raise LedgerConflict(errors)
    return conflicts
