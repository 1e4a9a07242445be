"""The ledger as a value: adding and revoking give another one; solving is elsewhere."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api_schemas.edits import EditOptions
from api_schemas.report import LedgerRecord
from editor.errors import LedgerError
from editor.ledger.entry import Entry
from editor.solver.config import Method


class Ledger(BaseModel):
    """The removals of one base model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["expunge-ledger/1"] = "expunge-ledger/1"
    base: dict[str, str] = Field(description="Text encoder -> digest of all that its edit is computed from.")
    active: tuple[Entry, ...] = Field((), description="In the order in which they came; it does not matter.")
    revoked: tuple[Entry, ...] = Field((), description="Removals that no longer hold, in the order of their going.")

    @cached_property
    def by_digest(self) -> Mapping[str, Entry]:
        """The active entries in canonical order: by digest."""
        return {entry.digest: entry for entry in sorted(self.active, key=lambda entry: entry.digest)}

    @property
    def digest(self) -> str:
        """Of base and active set: equal digests mean byte-identical weights."""
        return hashlib.sha256(repr([sorted(self.base.items()), list(self.by_digest)]).encode()).hexdigest()

    def parameters(self, taken_back: Iterable[Entry]) -> dict[str, Any]:
        """What is signed for where no single request made the weights: this ledger, and what it no longer removes."""
        return {"ledger": self.digest, "takenBack": [entry.digest for entry in taken_back]}

    def record(self, taken_back: Iterable[Entry] = ()) -> LedgerRecord:
        """For a report, which is not to name what others asked for."""
        gone = [entry.removal.concept for entry in taken_back]
        return LedgerRecord(digest=self.digest, active=len(self.active), taken_back=gone)

    @property
    def method(self) -> Method:
        """How all are solved together: one aim, the strongest preservation that any asked for, and everybody's pins."""
        options = [entry.options for entry in self.by_digest.values()]
        weights = [one.preservation for one in options if one.preservation != "auto"]
        pins = sorted({pin for one in options for pin in one.pins})
        aim = options[0].aim if options else "attention"
        return Method(preservation=max(weights) if weights else "auto", aim=aim, pins=tuple(pins))

    def add(self, entries: Iterable[Entry]) -> "Ledger":
        """With more removals; those that are active already change nothing.

        Raises:
            LedgerError: asked for with options under which removals don't add up.
        """
        new = {entry.digest: entry for entry in entries}
        for entry in new.values():
            check_adds_up(entry.options)
        if len({entry.options.aim for entry in (*self.active, *new.values())}) > 1:
            raise LedgerError(
                "All removals of a ledger have one aim.",
                field="options.aim",
                remedy="Use the aim of those that are active.",
            )
        fresh = tuple(entry for digest, entry in new.items() if digest not in self.by_digest)
        back = tuple(entry for entry in self.revoked if entry.digest not in new)
        return Ledger(base=self.base, active=self.active + fresh, revoked=back)

    def revoke(self, names: Iterable[str], until: datetime | None = None) -> "Ledger":
        """Without some removals, each named by its digest, a beginning of it, its label or its concept.

        Raises:
            LedgerError: no active removal, or more than one, is called so.
        """
        return self.without({self.find(name).digest for name in names}, until)

    def without(self, gone: Collection[str], until: datetime | None = None) -> "Ledger":
        """Without the active removals of some digests."""
        kept = tuple(entry for entry in self.active if entry.digest not in gone)
        out = tuple(e.model_copy(update={"until": until}) for e in self.active if e.digest in gone)
        return Ledger(base=self.base, active=kept, revoked=self.revoked + out)

    def find(self, name: str) -> Entry:
        """The active removal that goes by a name; see :meth:`revoke`."""
        found = [entry for entry in self.by_digest.values() if name == entry.digest] or [
            entry for entry in self.by_digest.values() if entry.goes_by(name)
        ]
        if len(found) == 1:
            return found[0]
        what = "No active removal is" if not found else f"{len(found)} active removals are"
        raise LedgerError(
            f"{what} called {name!r}.", field="removal", remedy="Use a digest; `expunge ledger` lists them."
        )


def check_adds_up(options: EditOptions) -> None:
    """Raise LedgerError unless removals with these options are sums over the original first layer."""
    if options.preset == "paper":
        raise LedgerError(
            "The paper preset neither adds up nor can be revoked.",
            field="options.preset",
            remedy="Leave the preset out.",
        )
    if options.sites != [0]:
        raise LedgerError(
            "A ledger edits the first layer: later ones depend on it, so their sums would depend on the order.",
            field="options.sites",
            remedy="Leave the sites out.",
        )
