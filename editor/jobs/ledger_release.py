"""A ledger's weights on their way out, after it was changed by anything but a request: the same files, the same way."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from api_schemas.edits import Validation
from api_schemas.report import AuditReport
from editor.checkpoints import Checkpoint
from editor.ledger.entry import LedgerEntry
from editor.ledger.ledger import Ledger
from editor.ledger.store import LedgerFolder
from editor.methods.default import TensorEdit
from editor.publishing.attestation.keys import Signer
from editor.publishing.bundle import Signing, publish
from editor.publishing.export import deliver
from editor.publishing.filenames import DELTA
from editor.publishing.limitations import known_limits, not_tested
from editor.publishing.provenance import model_record, software, weights_digests


class Released(BaseModel):
    """What was written."""

    model_config = ConfigDict(frozen=True)

    digest: str = Field(description="Of the ledger.")
    active: int
    files: list[Path] = Field(description="Empty where nothing is removed any more: the base model is the result.")
    lora_note: str | None = Field(None, description="Why there is no LoRA.")


class Revoked(Released):
    """The same after a revocation."""

    revoked: list[LedgerEntry]


@dataclass(frozen=True)
class Release:
    """Of which base model, and where to."""

    model: str
    """What the report calls the base model."""
    checkpoint: Checkpoint
    out: Path
    now: datetime
    delta_only: bool = False
    signer: Signer | None = None

    def of(
        self,
        folder: LedgerFolder,
        change: Callable[[Ledger], Ledger],
        ledger: Ledger,
        edits: Sequence[TensorEdit],
        taken_back: Sequence[LedgerEntry] = (),
    ) -> Released:
        """Publish what was solved, deliver it, and commit the ledger.

        Args:
            change: what was done to the ledger that the folder holds.
            ledger: what that gave.
            edits: solved for it; none for an empty one.
            taken_back: what it no longer removes.

        Raises:
            LedgerError: somebody else changed the ledger meanwhile. Nothing is delivered then.
        """
        with tempfile.TemporaryDirectory() as name:
            staged = Path(name)
            note = self.publish(ledger, edits, taken_back, staged).lora_note if edits else None
            with folder.transaction(self.checkpoint, change, ledger, staged / DELTA if edits else None):
                files = deliver(staged, self.checkpoint.path, self.out) if edits else []
        return Released(digest=ledger.digest, active=len(ledger.active), files=files, lora_note=note)

    def publish(
        self, ledger: Ledger, edits: Sequence[TensorEdit], taken_back: Sequence[LedgerEntry], staged: Path
    ) -> AuditReport:
        """As a request's edit is published; what is signed for is the ledger, which no single request made."""
        updates, report = [done.update for done in edits], self.draft(ledger, edits, taken_back)
        signing = Signing(self.signer, ledger.attestation_parameters(taken_back))
        return publish(report, updates, self.checkpoint.path, [], staged, full=not self.delta_only, signing=signing)

    def draft(self, ledger: Ledger, edits: Sequence[TensorEdit], taken_back: Sequence[LedgerEntry]) -> AuditReport:
        """The report. It names what was taken back, and nobody's removals."""
        hidden: dict[str, list[object]] = {"feasibility": [], "foreseen": []}
        return AuditReport(
            job_id="offline",
            created_at=self.now,
            model=model_record(self.model, self.checkpoint, weights_digests(self.checkpoint)),
            removals=[],
            solves=[done.record.model_copy(update=hidden) for done in edits],
            traces=[],
            ledger=ledger.to_record(taken_back),
            validation=None,
            verdict=None,
            limits=known_limits([], self.checkpoint.second_ways),
            untested=not_tested(Validation(enabled=False)),
            artifacts=[],
            software=software(),
        )


def revoke(folder: LedgerFolder, names: Sequence[str], release: Release) -> Revoked:
    """Take removals back: weights that never knew them, then a ledger that says so.

    Args:
        names: each a concept, a label, a digest or the beginning of one.

    Raises:
        LedgerError: no active removal, or more than one, is called so, or the ledger was changed meanwhile.
    """
    folder.read()
    before = folder.read_for(release.checkpoint)
    gone = [before.find(name) for name in dict.fromkeys(names)]
    digests = {entry.digest for entry in gone}

    def change(ledger: Ledger) -> Ledger:
        return ledger.without(digests, release.now)

    after = change(before)
    edits = folder.solve(after, release.checkpoint, after.active[:1])  # feasibility costs time, and the report hides it
    released = release.of(folder, change, after, edits, gone)
    return Revoked(**dict(released), revoked=list(after.revoked[len(before.revoked) :]))
