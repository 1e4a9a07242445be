"""Carry a ledger over to another checkpoint.

Where the encoders' tensors that an edit is computed from are the same, so is its result: the delta fits as it is. Elsewhere
all is solved again, from the new originals, and the report says what differs and how far each removal went here and goes there.
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
from editor.ledger.store import LedgerFolder, encoder_digests
from editor.methods.default import TensorEdit
from editor.publishing.apply import plan_patches, write_patches
from editor.publishing.delta import read_header
from editor.publishing.filenames import DELTA

LEDGER_FOLDER = "ledger"
"""Where the carried ledger lies inside of what is written."""
Left = dict[tuple[str, str, str], float]
"""Component, kind and concept -> share of the way that an update leaves."""


class Part(BaseModel):
    """Base of the result's parts."""

    model_config = ConfigDict(frozen=True)


class EncoderDifference(Part):
    """What of a text encoder is not the same."""

    component: str
    differences: list[TensorDifference] = Field(description="Of the tensors that an edit is computed from.")
    only_in: str | None = Field(None, description="The checkpoint that alone has this encoder.")


class Carried(Part):
    """How far a removal goes: the share of its way that the update leaves, all removals together."""

    digest: str
    kind: str
    concept: str
    component: str
    before: float | None = Field(description="None where the old checkpoint does not have this encoder.")
    after: float | None


class Rebased(Released):
    """What came of it."""

    reused: bool = Field(description="Nothing was solved: the delta fits as it is.")
    ledger: Path = Field(description="The folder of the carried ledger.")
    encoders: list[EncoderDifference]
    removals: list[Carried] = Field(description="Empty where nothing was solved.")


@dataclass(frozen=True)
class Rebase:
    """From one folder to another."""

    folder: LedgerFolder
    to: Release
    """Onto which checkpoint, and where to."""

    @property
    def target(self) -> LedgerFolder:
        """The carried ledger's."""
        return LedgerFolder(self.to.out / LEDGER_FOLDER)

    def run(self, original: Checkpoint | None) -> Rebased:
        """Reuse the delta, or solve again.

        Args:
            original: the ledger's own base model. It is not needed where the new one has the same tensors.

        Raises:
            LedgerError: no original where one is needed, or another one; or there is a ledger at the target already.
        """
        held, onto = self.folder.read(), self.to.checkpoint
        if self.target.file.exists():
            raise self.taken()
        if held.base == encoder_digests(onto):
            return self.reused(held) if self.has_delta(held) else self.solved(held, onto)
        if original is None or held.base != encoder_digests(original):
            raise LedgerError(
                f"{onto.path} has other tensors than the ledger's own base model, and what differs can only be told "
                "with that one at hand.",
                field="model",
                remedy="Name it with --model-dir.",
            )
        return self.solved(held, original)

    def has_delta(self, held: Ledger) -> bool:
        """Whether the weights of just this ledger are kept beside it; an empty one needs none. A damaged file is none."""
        try:
            return not held.active or read_header(self.folder.delta).request == held.digest
        except PublishingError:
            return False

    def reused(self, held: Ledger) -> Rebased:
        """The kept delta, and the new checkpoint's files with it."""
        delta, model, out = self.folder.delta, self.to.checkpoint.path, self.to.out
        plan = plan_patches(model, delta) if held.active else []
        with self.target.transaction(self.to.checkpoint, self.onto_nothing(held), held, delta if plan else None):
            if plan:
                write_bytes(out / DELTA, delta.read_bytes())
            files = [] if self.to.delta_only or not plan else write_patches(plan, model, delta, out)
        return self.result(held, [out / DELTA, *files] if plan else [], reused=True)

    def solved(self, held: Ledger, original: Checkpoint) -> Rebased:
        """All solved again, on both sides."""
        onto = self.to.checkpoint
        carried = Ledger(base=encoder_digests(onto), active=held.active, revoked=held.revoked)
        edits = self.target.solve(carried, onto, carried.active)
        same = held.base == carried.base
        before = edits if same else self.folder.solve(held, original, held.active)
        done = self.to.publish_and_commit(self.target, self.onto_nothing(carried), carried, edits)
        removals = compared(held.active, left(before), left(edits))
        differences = [] if same else encoder_differences(original, onto)
        return self.result(carried, done.files, encoders=differences, removals=removals, lora_note=done.lora_note)

    def onto_nothing(self, carried: Ledger) -> "OntoNothing":
        """What is done to the target's ledger."""
        return OntoNothing(carried, self.taken())

    def taken(self) -> LedgerError:
        """The refusal to replace a ledger."""
        return LedgerError(
            f"{self.target.path} holds a ledger already.", field="out", remedy="Name another folder with --out."
        )

    def result(
        self,
        ledger: Ledger,
        files: Sequence[Path],
        *,
        reused: bool = False,
        encoders: Sequence[EncoderDifference] = (),
        removals: Sequence[Carried] = (),
        lora_note: str | None = None,
    ) -> Rebased:
        """In one piece."""
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
class OntoNothing:
    """A change that puts a ledger where none is."""

    carried: Ledger
    refusal: LedgerError

    def __call__(self, now: Ledger) -> Ledger:
        """Raises LedgerError: one is there by now."""
        if now.active or now.revoked:
            raise self.refusal
        return self.carried


def left(edits: Sequence[TensorEdit]) -> Left:
    """What each update leaves of each removal."""
    records = (done.record for done in edits)
    return {(r.component, told.kind, told.concept): told.left for r in records for told in r.feasibility}


def compared(entries: Sequence[LedgerEntry], before: Left, after: Left) -> list[Carried]:
    """Each removal in each encoder, the one that goes least far first."""
    components = sorted({component for component, _, _ in {**before, **after}})
    found = [
        Carried(
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


def encoder_differences(original: Checkpoint, onto: Checkpoint) -> list[EncoderDifference]:
    """Encoder by encoder; none for those that are the same."""
    mine, theirs = ({encoder.component: encoder for encoder in side.encoders} for side in (original, onto))
    alone = [
        EncoderDifference(component=name, differences=[], only_in=str((original if name in mine else onto).path))
        for name in sorted(mine.keys() ^ theirs.keys())
    ]
    both = [
        EncoderDifference(component=name, differences=compare_encoders(mine[name], theirs[name]))
        for name in sorted(mine.keys() & theirs.keys())
    ]
    return [*(found for found in both if found.differences), *alone]
