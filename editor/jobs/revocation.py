"""A revocation as a job: solve the ledger without the revoked removals, and publish the result.

The ledger that the worker hands over is the one after the revocation; its revoked entries are the ones that this job revokes.
If no removal is active any more, the base model is the result, and only the signed report is published.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from api_schemas.report import AuditReport, Verdict
from editor.jobs import artifacts
from editor.jobs.context import JobContext
from editor.jobs.edit_phase import pack_factors
from editor.jobs.job import Job
from editor.jobs.ledger_release import anonymize, ledger_publisher, ledger_report
from editor.jobs.model import Model
from editor.jobs.results import EditResult
from editor.ledger import Ledger, LedgerFolder
from editor.ledger.snapshot import write_snapshot
from editor.publishing.attestation.keys import open_signer
from editor.publishing.bundle import Signing

PHASES: tuple[str, ...] = ("edit", "publish")

__all__ = [
    "PHASES",
    "JobContext",
    "artifacts",
    "finished",
    "run_phase",
    "solved_parameters",
    "verdict",
    "write_snapshot",
]


@dataclass(frozen=True)
class RevocationJob(Job):
    """The phases of a revocation. Each phase returns its stored result, or computes and stores it."""

    @cached_property
    def folder(self) -> LedgerFolder:
        """The ledger that was handed over."""
        assert self.context.ledger, "a revocation has a ledger"
        return LedgerFolder(self.context.ledger, self.context.profile)

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger after the revocation."""
        return self.folder.read_for(self.model.checkpoint)

    def edit(self) -> EditResult:
        """Solve for the removals that are still active."""
        return self.phases.run("edit", EditResult, self._run_edit)

    def publish(self) -> AuditReport:
        """Write the bundle and return its report, which names the revoked removals, unless their names are withheld."""
        return self.published_report() if self.is_finished("publish") else self._run_publish()

    def _run_edit(self) -> EditResult:
        with self.context.reporting("edit", "solving for the active removals"):
            return run_edit(self.model, self.folder, self.ledger)

    def _run_publish(self) -> AuditReport:
        context, edit = self.context, self.edit()
        with context.reporting("publish", "reading the model", share=0.3):
            report = self._draft_report(edit)
        signer = open_signer(context.signing_dir, context.now)
        signing = Signing(signer, self.ledger.attestation_parameters(self.ledger.revoked, self.salt))
        write, updates = ledger_publisher(self.ledger.revoked, self.salt), edit.updates(self.model.checkpoint)
        with context.reporting("publish", "writing the files", 0.3, 0.7):
            return write(report, updates, self.model.path, [], context.out, signing=signing)

    def _draft_report(self, edit: EditResult) -> AuditReport:
        return ledger_report(
            self.context.request.model,
            self.model.checkpoint,
            self.model.digests,
            self.ledger,
            edit.solves,
            self.ledger.revoked,
            profile=self.model.prompts.profile,
            salt=self.salt,
            job_id=self.context.job_id,
            created_at=self.context.now,
        )


def run_edit(model: Model, folder: LedgerFolder, ledger: Ledger) -> EditResult:
    """Solve for the active removals of a ledger. The result names none of them."""
    edits = folder.solve(
        ledger, model.checkpoint, ledger.active[:1]
    )  # one feasibility: it takes time, and is not reported
    solves = [anonymize(edit.record) for edit in edits]
    return EditResult(removals=[], solves=solves, factors=pack_factors(edits), ledger=ledger)


def run_phase(phase: str, context: JobContext) -> None:
    """Run one phase, unless its result is stored already."""
    job = RevocationJob(context)
    {"edit": job.edit, "publish": job.publish}[phase]()


def finished(phase: str, context: JobContext) -> bool:
    """Whether the result of a phase is stored."""
    return RevocationJob(context).is_finished(phase)


def solved_parameters(context: JobContext) -> list[dict[str, Any]]:
    """Return nothing: this job adds no removals."""
    return []


def verdict(context: JobContext) -> Verdict | None:
    """Return None: a revocation measures nothing."""
    return None
