"""Ledgers: the active removals of a base model, always solved from the original weights.

The weights do not depend on the order of the removals, a revoked removal leaves no trace, and adding a removal twice changes
nothing.
"""

from editor.ledger.entry import LedgerEntry, entries_from_request
from editor.ledger.ledger import Ledger
from editor.ledger.store import LedgerFolder, all_active_removals, other_removals

__all__ = ["Ledger", "LedgerEntry", "LedgerFolder", "all_active_removals", "entries_from_request", "other_removals"]
