"""What a revocation would change: which concepts return, and which stay removed because another edit removes them too."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from api_schemas.edits import Removal
from service.store.orm import LedgerEntry


@dataclass(frozen=True)
class RevocationPreview:
    """The removals of an edit, by what its revocation does to them."""

    edit: str
    returning: Sequence[Removal]
    staying: Sequence[tuple[Removal, str]]
    """Removals that another active edit also makes, and the id of that edit."""
    remaining: int
    """Number of removals that stay active."""


def preview_revocation(active: Sequence[LedgerEntry], edit_id: str) -> RevocationPreview:
    """Return what revoking an edit would do to the active removals of a ledger."""
    own = [Removal.model_validate(entry.removal) for entry in active if entry.job_id == edit_id]
    others = [(entry.job_id, Removal.model_validate(entry.removal)) for entry in active if entry.job_id != edit_id]
    staying = [(removal, other) for removal in own if (other := _also_removed_by(removal, others))]
    kept = {removal.key for removal, _ in staying}
    return RevocationPreview(edit_id, [one for one in own if one.key not in kept], staying, len(others))


def _also_removed_by(removal: Removal, others: Iterable[tuple[str, Removal]]) -> str | None:
    """Return the edit that removes the same concept under its name or one of its aliases, or None."""
    name = removal.concept.casefold()
    for edit_id, other in others:
        names = {other.concept.casefold(), *(alias.casefold() for alias in other.aliases)}
        if other.kind == removal.kind and name in names:
            return edit_id
    return None
