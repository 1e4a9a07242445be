"""A ledger of removals per base model: an ordered set, always solved from the original weights.

Order does not matter, what is revoked leaves no trace, and asking twice changes nothing: see docs/ledger.md.
"""

from editor.ledger.entry import Entry, entries_of
from editor.ledger.ledger import Ledger
from editor.ledger.store import LedgerFolder, all_removed

__all__ = ["Entry", "Ledger", "LedgerFolder", "all_removed", "entries_of"]
