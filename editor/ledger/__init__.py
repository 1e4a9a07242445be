"""A ledger of removals per base model: an ordered set, always solved from the original weights.

Order does not matter, what is revoked leaves no trace, and asking twice changes nothing: see docs/ledger.md.
"""

from editor.ledger.entry import Entry, entries_of
from editor.ledger.folder import LedgerFolder, alone
from editor.ledger.ledger import Ledger

__all__ = ["Entry", "Ledger", "LedgerFolder", "alone", "entries_of"]
