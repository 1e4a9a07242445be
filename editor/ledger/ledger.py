"""The ledger as an immutable value: adding and revoking return a new one."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api_schemas.edits import EditOptions
from api_schemas.report import LedgerRecord
from editor.checkpoints.denoiser import COMPONENTS as DENOISERS
from editor.errors import LedgerError
from editor.io.digests import salted_digest
from editor.ledger.entry import LedgerEntry, merge_entries
from editor.methods.adjustments import SolveAdjustments, merge_adjustments
from editor.methods.config import MethodConfig, Preservation


class Ledger(BaseModel):
    """The removals of one base model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["expunge-ledger/1"] = "expunge-ledger/1"
    base: dict[str, str] = Field(
        description="Text encoder -> digest of everything that its edit is computed from; the denoiser too once a removal was "
        "solved at its sites."
    )
    active: tuple[LedgerEntry, ...] = Field((), description="In order of addition, which does not affect the weights.")
    revoked: tuple[LedgerEntry, ...] = Field((), description="Revoked removals in the order of their revocation.")

    @cached_property
    def by_digest(self) -> Mapping[str, LedgerEntry]:
        """The active entries by digest, in canonical order."""
        return {entry.digest: entry for entry in sorted(self.active, key=lambda entry: entry.digest)}

    @property
    def digest(self) -> str:
        """Digest of the base model and the active set: equal digests mean byte-identical weights."""
        edited = sorted((name, sha) for name, sha in self.base.items() if name not in DENOISERS or self.edits_denoiser)
        return hashlib.sha256(repr([edited, list(self.by_digest)]).encode()).hexdigest()

    @property
    def knows_denoiser(self) -> bool:
        """Whether the digest of the denoiser is known, since a removal was solved at its sites."""
        return any(name in DENOISERS for name in self.base)

    @property
    def edits_denoiser(self) -> bool:
        """Whether an active removal is solved at sites of the denoiser."""
        return any(entry.edits_denoiser for entry in self.active)

    @property
    def withholds_names(self) -> bool:
        """Whether the name of an active removal is withheld. The digest covers it, so it must not be published unsalted."""
        return any(entry.withhold_name for entry in self.active)

    def attestation_parameters(self, taken_back: Iterable[LedgerEntry], salt: str) -> dict[str, Any]:
        """Return the parameters to attest when no single request produced the weights: this ledger and what it released."""
        released = [salted_digest(salt, e.digest) if e.withhold_name else e.digest for e in taken_back]
        return {"ledger": self.to_record(salt=salt).digest, "takenBack": released}

    def to_record(self, taken_back: Iterable[LedgerEntry] = (), salt: str | None = None) -> LedgerRecord:
        """Return the record for a report, which must not name the removals of other requests.

        Args:
            taken_back: the revoked removals, which are named.
            salt: salts the digest if it covers a withheld name. None: the report is redacted later, or not published.
        """
        concepts = [entry.removal.concept for entry in taken_back]
        digest = salted_digest(salt, self.digest) if salt and self.withholds_names else self.digest
        return LedgerRecord(digest=digest, active=len(self.active), taken_back=concepts)

    @property
    def method(self) -> MethodConfig:
        """The settings of the joint solve: the common aim, the largest requested preservation weight, and all pins."""
        options = [entry.options for entry in self.by_digest.values()]
        weights = [one.preservation for one in options if one.preservation != "auto"]
        pins = sorted({pin for one in options for pin in one.pins})
        aim = options[0].aim if options else "attention"
        preservation: Preservation = max(weights) if weights else "auto"
        return MethodConfig(preservation=preservation, aim=aim, pins=tuple(pins), spread=False)

    @property
    def adjustments(self) -> SolveAdjustments:
        """The adjustments of all active removals together."""
        return merge_adjustments([entry.parameters.adjustments for entry in self.by_digest.values()])

    def add(self, entries: Iterable[LedgerEntry]) -> "Ledger":
        """Return the ledger with more removals; active ones are not added again.

        Raises:
            LedgerError: the options of an entry do not allow removals to be summed.
        """
        new = merge_entries(entries)
        for entry in new.values():
            check_additive(entry.options)
        if len({entry.options.aim for entry in (*self.active, *new.values())}) > 1:
            raise LedgerError(
                "All removals of a ledger must have the same aim.",
                field="options.aim",
                remedy="Use the aim of the active removals.",
            )
        added = {entry.requested_digest for entry in new.values()}
        revoked = tuple(entry for entry in self.revoked if entry.requested_digest not in added)
        active = merge_entries([*self.active, *new.values()])
        return Ledger(base=self.base, active=tuple(active.values()), revoked=revoked)

    def revoke(self, names: Iterable[str], until: datetime | None = None) -> "Ledger":
        """Return the ledger without some removals, each named by digest, prefix of the digest, label or concept.

        Raises:
            LedgerError: a name matches no active removal, or more than one.
        """
        return self.without({self.find(name).digest for name in names}, until)

    def without(self, digests: Collection[str], until: datetime | None = None) -> "Ledger":
        """Return the ledger without the active removals of some digests."""
        active = tuple(entry for entry in self.active if entry.digest not in digests)
        revoked = tuple(e.model_copy(update={"until": until}) for e in self.active if e.digest in digests)
        return Ledger(base=self.base, active=active, revoked=self.revoked + revoked)

    def find(self, name: str) -> LedgerEntry:
        """Return the active removal that a name matches; see :meth:`revoke`."""
        matching = [entry for entry in self.by_digest.values() if name == entry.digest] or [
            entry for entry in self.by_digest.values() if entry.matches_reference(name)
        ]
        if len(matching) == 1:
            return matching[0]
        problem = "No active removal matches" if not matching else f"{len(matching)} active removals match"
        raise LedgerError(f"{problem} {name!r}.", field="removal", remedy="Use a digest; `expunge ledger` lists them.")


def check_additive(options: EditOptions) -> None:
    """Raise LedgerError unless removals with these options are sums over the original first layer."""
    if options.method != "default":
        raise LedgerError(
            f"A removal by the method {options.method!r} cannot be combined with others or revoked.",
            field="options.method",
            remedy="Use the default method.",
        )
    if options.layers not in ([0], []):
        raise LedgerError(
            f"A ledger edits the first layer of text encoders only, not the sites {options.sites}: later layers depend on it.",
            field="options.sites",
            remedy='Use the default sites, "all", or names of sites.',
        )
