"""Carry a ledger over to another checkpoint.

If the tensors from which an edit is computed are equal in both checkpoints, the delta is reused. Otherwise the edits are
solved again from the new weights, and the result lists which tensors differ and how completely each removal is erased in
both checkpoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from editor.checkpoints import Checkpoint
from editor.checkpoints.diff import TensorDifference, compare_encoders
from editor.errors import LedgerError, PublishingError
from editor.io.atomic import write_bytes
from editor.jobs.ledger_release import Release, Released
from editor.ledger.entry import LedgerEntry
from editor.ledger.ledger import Ledger
from editor.ledger.store import LedgerFolder, base_digests
from editor.methods.tensor_edits import Edit
from editor.publishing.apply import plan_patches, write_patches
from editor.publishing.delta import read_header
from editor.publishing.filenames import DELTA, LEDGER_FOLDER

ResidualShares = dict[tuple[str, str, str], float]
"""(Component, kind, concept) -> residual: the share of the removal that the update leaves."""


class RebaseRecord(BaseModel):
    """Base class of the models in the result."""

    model_config = ConfigDict(frozen=True)


class EncoderDifference(RebaseRecord):
    """The differences between the text encoders of both checkpoints."""

    component: str
    differences: list[TensorDifference] = Field(
        description="Differences of the tensors from which an edit is computed."
    )
    only_in: str | None = Field(
        None, description="The checkpoint with this encoder, if the other one does not have it."
    )


class RebasedRemoval(RebaseRecord):
    """The residual of a removal, when all removals are solved together: 0 if it is erased completely."""

    digest: str
    kind: str
    concept: str
    component: str
    before: float | None = Field(description="Residual in the old checkpoint; null if it does not have this encoder.")
    after: float | None = Field(description="Residual in the new checkpoint; null if it does not have this encoder.")


class Rebased(Released):
    """The output of ``expunge rebase --json``."""

    reused: bool = Field(description="Whether the delta was reused without solving.")
    ledger: Path = Field(description="The folder of the new ledger.")
    encoders: list[EncoderDifference]
    removals: list[RebasedRemoval] = Field(description="Empty if nothing was solved.")


@dataclass(frozen=True)
class Rebase:
    """A rebase of the ledger in ``folder`` to the checkpoint of ``to``."""

    folder: LedgerFolder
    to: Release
    """The new checkpoint, and where the files are written."""

    @property
    def target(self) -> LedgerFolder:
        """The folder of the new ledger."""
        return LedgerFolder(self.to.out / LEDGER_FOLDER)

    def run(self, original: Checkpoint | None) -> Rebased:
        """Reuse the delta if the encoders are equal; otherwise solve again.

        Args:
            original: the ledger's base model. It is not needed if the new checkpoint has the same tensors.

        Raises:
            LedgerError: the original is needed and missing, or is another model; or the target already has a ledger.
        """
        ledger, checkpoint = self.folder.read(), self.to.checkpoint
        if self.target.file.exists():
            raise self.target_exists_error()
        denoiser = ledger.knows_denoiser
        if ledger.base == base_digests(checkpoint, denoiser=denoiser):
            return self.reuse_delta(ledger) if self.has_delta(ledger) else self.solve_again(ledger, checkpoint)
        if original is None or ledger.base != base_digests(original, denoiser=denoiser):
            raise LedgerError(
                f"{checkpoint.path} has other tensors than the ledger's own base model, "
                "which is needed to compare them.",
                field="model",
                remedy="Pass the ledger's base model with --model-dir.",
            )
        return self.solve_again(ledger, original)

    def has_delta(self, ledger: Ledger) -> bool:
        """Return whether the folder has a valid delta of exactly this ledger. An empty ledger needs none."""
        try:
            return not ledger.active or read_header(self.folder.delta).request == ledger.digest
        except PublishingError:
            return False

    def reuse_delta(self, ledger: Ledger) -> Rebased:
        """Copy the delta, and apply it to the files of the new checkpoint."""
        delta, model, out = self.folder.delta, self.to.checkpoint.path, self.to.out
        plan = plan_patches(model, delta) if ledger.active else []
        with self.target.transaction(self.to.checkpoint, self.create_ledger(ledger), ledger, delta if plan else None):
            if plan:
                write_bytes(out / DELTA, delta.read_bytes())
            files = [] if self.to.delta_only or not plan else write_patches(plan, model, delta, out)
        return self.build_result(ledger, [out / DELTA, *files] if plan else [], reused=True)

    def solve_again(self, ledger: Ledger, original: Checkpoint) -> Rebased:
        """Solve all removals for both checkpoints, and publish the edits of the new one."""
        checkpoint = self.to.checkpoint
        base = base_digests(checkpoint, denoiser=ledger.knows_denoiser)
        new_ledger = Ledger(base=base, active=ledger.active, revoked=ledger.revoked)
        edits = self.target.solve(new_ledger, checkpoint, new_ledger.active)
        same = ledger.base == new_ledger.base
        before = edits if same else self.folder.solve(ledger, original, ledger.active)
        done = self.to.publish_and_commit(self.target, self.create_ledger(new_ledger), new_ledger, edits)
        removals = compare_removals(ledger.active, residual_shares(before), residual_shares(edits))
        differences = [] if same else encoder_differences(original, checkpoint)
        return self.build_result(
            new_ledger, done.files, encoders=differences, removals=removals, lora_note=done.lora_note
        )

    def create_ledger(self, ledger: Ledger) -> "CreateLedger":
        """Return the change that writes the new ledger."""
        return CreateLedger(ledger, self.target_exists_error())

    def target_exists_error(self) -> LedgerError:
        """Return the error for a target that already has a ledger."""
        return LedgerError(
            f"{self.target.path} already contains a ledger.", field="out", remedy="Pass another folder with --out."
        )

    def build_result(
        self,
        ledger: Ledger,
        files: Sequence[Path],
        *,
        reused: bool = False,
        encoders: Sequence[EncoderDifference] = (),
        removals: Sequence[RebasedRemoval] = (),
        lora_note: str | None = None,
    ) -> Rebased:
        """Assemble the result."""
        return Rebased(
            digest=ledger.digest,
            active=len(ledger.active),
            files=list(files),
            lora_note=lora_note,
            reused=reused,
            ledger=self.target.path,
            encoders=list(encoders),
            removals=list(removals),
        )


@dataclass(frozen=True)
class CreateLedger:
    """A ledger change that writes a ledger where none exists."""

    ledger: Ledger
    exists_error: LedgerError

    def __call__(self, current: Ledger) -> Ledger:
        """Return the new ledger. Raises LedgerError if a ledger exists by now."""
        if current.active or current.revoked:
            raise self.exists_error
        return self.ledger


def residual_shares(edits: Sequence[Edit]) -> ResidualShares:
    """Return the residual of each removal in each update."""
    records = (done.record for done in edits)
    return {
        (r.component, forecast.kind, forecast.concept): forecast.left for r in records for forecast in r.feasibility
    }


def compare_removals(
    entries: Sequence[LedgerEntry], before: ResidualShares, after: ResidualShares
) -> list[RebasedRemoval]:
    """Return the residuals of each removal in each encoder, the least complete removal first."""
    components = sorted({component for component, _, _ in {**before, **after}})
    found = [
        RebasedRemoval(
            digest=entry.digest,
            kind=entry.removal.kind,
            concept=entry.removal.concept,
            component=component,
            before=before.get((component, entry.removal.kind, entry.removal.concept)),
            after=after.get((component, entry.removal.kind, entry.removal.concept)),
        )
        for component in components
        for entry in entries
    ]
    return sorted(found, key=lambda one: -(one.after or 0.0))


def encoder_differences(original: Checkpoint, checkpoint: Checkpoint) -> list[EncoderDifference]:
    """Compare the encoders of two checkpoints. Equal encoders are left out."""
    mine, theirs = ({encoder.component: encoder for encoder in side.encoders} for side in (original, checkpoint))
    alone = [
        EncoderDifference(component=name, differences=[], only_in=str((original if name in mine else checkpoint).path))
        for name in sorted(mine.keys() ^ theirs.keys())
    ]
    both = [
        EncoderDifference(component=name, differences=compare_encoders(mine[name], theirs[name]))
        for name in sorted(mine.keys() & theirs.keys())
    ]
    return [*(found for found in both if found.differences), *alone]
