"""Publish a ledger's weights after a change that no request made: a revocation or a rebase."""

import secrets
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from api_schemas.edits import Validation
from api_schemas.report import AuditReport, SolveRecord
from editor.checkpoints import Checkpoint
from editor.ledger.entry import LedgerEntry
from editor.ledger.ledger import Ledger
from editor.ledger.store import LedgerFolder
from editor.methods.tensor_edits import Edit
from editor.prompts import Profile, load_profile
from editor.publishing.attestation.keys import Signer
from editor.publishing.attestation.statements import OFFLINE_JOB_ID
from editor.publishing.bundle import Signing, publish, publish_redacted
from editor.publishing.export import deliver
from editor.publishing.filenames import DELTA
from editor.publishing.limitations import known_limits, list_untested
from editor.publishing.provenance import model_digests, model_record, profile_record, software_versions


class Released(BaseModel):
    """What was written."""

    model_config = ConfigDict(frozen=True)

    digest: str = Field(description="The ledger's digest.")
    active: int
    files: list[Path] = Field(description="Empty if no removal is active: the base model is the result.")
    lora_note: str | None = Field(None, description="Why there is no LoRA.")


class Revoked(Released):
    """What was written after a revocation."""

    revoked: list[LedgerEntry]


@dataclass(frozen=True)
class Release:
    """The base model of a ledger, and where its files are written."""

    model: str
    """The base model's name in the report."""
    checkpoint: Checkpoint
    out: Path
    now: datetime
    delta_only: bool = False
    signer: Signer | None = None

    def publish_and_commit(
        self,
        folder: LedgerFolder,
        change: Callable[[Ledger], Ledger],
        ledger: Ledger,
        edits: Sequence[Edit],
        taken_back: Sequence[LedgerEntry] = (),
    ) -> Released:
        """Publish the edits, deliver the files, and commit the ledger.

        Args:
            change: what was applied to the folder's ledger.
            ledger: the result of the change.
            edits: the ledger's edits; none for an empty ledger.
            taken_back: the removals that the change revoked.

        Raises:
            LedgerError: the ledger was changed in the meantime. Nothing is delivered.
        """
        with tempfile.TemporaryDirectory() as name:
            staged = Path(name)
            note = self.publish(ledger, edits, taken_back, staged).lora_note if edits else None
            with folder.transaction(self.checkpoint, change, ledger, staged / DELTA if edits else None):
                files = deliver(staged, self.checkpoint.path, self.out) if edits else []
        return Released(digest=ledger.digest, active=len(ledger.active), files=files, lora_note=note)

    def publish(
        self, ledger: Ledger, edits: Sequence[Edit], taken_back: Sequence[LedgerEntry], staged: Path
    ) -> AuditReport:
        """Write the bundle of a ledger. The attestation names the ledger, because no single request made the weights."""
        salt = secrets.token_hex(32)
        report = ledger_report(
            self.model,
            self.checkpoint,
            model_digests(self.checkpoint),
            ledger,
            [anonymize(edit.record) for edit in edits],
            taken_back,
            profile=load_profile(self.checkpoint.path),
            salt=salt,
            job_id=OFFLINE_JOB_ID,
            created_at=self.now,
        )
        updates, write = [update for edit in edits for update in edit.updates], ledger_publisher(taken_back, salt)
        signing = Signing(self.signer, ledger.attestation_parameters(taken_back, salt))
        return write(report, updates, self.checkpoint.path, [], staged, full=not self.delta_only, signing=signing)


def anonymize(record: SolveRecord) -> SolveRecord:
    """Return a solve record without the fields that name removals or prompts."""
    hidden: dict[str, list[object]] = {"feasibility": [], "foreseen": []}
    return record.model_copy(update=hidden)


def withholds_any(taken_back: Sequence[LedgerEntry]) -> bool:
    """Whether the name of a revoked removal is withheld."""
    return any(entry.withhold_name for entry in taken_back)


def ledger_publisher(taken_back: Sequence[LedgerEntry], salt: str) -> Callable[..., AuditReport]:
    """Return the function that writes a ledger's bundle: redacted, if the name of a revoked removal is withheld."""
    return partial(publish_redacted, salt=salt) if withholds_any(taken_back) else publish


def ledger_report(
    model_id: str,
    checkpoint: Checkpoint,
    digests: dict[str, str],
    ledger: Ledger,
    solves: Sequence[SolveRecord],
    taken_back: Sequence[LedgerEntry],
    *,
    profile: Profile,
    salt: str,
    job_id: str,
    created_at: datetime,
) -> AuditReport:
    """Return the report on a ledger's weights, without its list of files. It names revoked removals, but no active ones.

    Publish it with :func:`ledger_publisher`, which redacts it if the name of a revoked removal is withheld.
    """
    return AuditReport(
        job_id=job_id,
        created_at=created_at,
        model=model_record(model_id, checkpoint, digests),
        profile=profile_record(profile, checkpoint.path),
        removals=[],
        solves=list(solves),
        traces=[],
        ledger=ledger.to_record(taken_back, None if withholds_any(taken_back) else salt),
        validation=None,
        verdict=None,
        limits=known_limits([], solves, checkpoint),
        untested=list_untested(Validation(enabled=False)),
        artifacts=[],
        software=software_versions(),
    )


def revoke(folder: LedgerFolder, names: Sequence[str], release: Release) -> Revoked:
    """Revoke removals: publish weights solved without them, then commit the ledger.

    Args:
        names: each a concept, a label, a digest or the beginning of one.

    Raises:
        LedgerError: a name matches no active removal or more than one, or the ledger was changed in the meantime.
    """
    folder.read()
    before = folder.read_for(release.checkpoint)
    revoked = [before.find(name) for name in dict.fromkeys(names)]
    digests = {entry.digest for entry in revoked}

    def change(ledger: Ledger) -> Ledger:
        return ledger.without(digests, release.now)

    after = change(before)
    edits = folder.solve(
        after, release.checkpoint, after.active[:1]
    )  # one feasibility: it takes time, and is not reported
    released = release.publish_and_commit(folder, change, after, edits, revoked)
    return Revoked(**dict(released), revoked=list(after.revoked[len(before.revoked) :]))
