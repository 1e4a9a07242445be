"""Taking removals back as a job: weights that never knew them, solved from the original over what still holds.

The ledger that the worker hands over is the one after the revocation; what it lists as revoked is what this job takes back.
Where nothing holds any more the base model is the result, and the signed report is all that is published.
"""

from safetensors.torch import save

from api_schemas.report import Verdict
from editor.io.atomic import write_bytes
from editor.jobs import artifacts
from editor.jobs.context import JobContext, finished, keep
from editor.jobs.edit_phase import Edited, edited, updates
from editor.jobs.publish_phase import draft
from editor.jobs.trace_phase import Traces
from editor.jobs.validate_phase import MaybeValidation
from editor.ledger import Ledger, LedgerFolder
from editor.ledger.snapshot import write_snapshot
from editor.publishing.attestation.keys import open_signer
from editor.publishing.bundle import Signing, publish, publish_report

PHASES: tuple[str, ...] = ("edit", "publish")

__all__ = ["PHASES", "JobContext", "artifacts", "finished", "run_phase", "verdict", "write_snapshot"]


def run_phase(phase: str, context: JobContext) -> None:
    """Run one phase. Running it again changes nothing but the time it takes."""
    {"edit": run_edit, "publish": run_publish}[phase](context)


def run_edit(context: JobContext) -> None:
    """Solve for what still holds."""
    context.progress("edit", 0.0, "solving for what still holds")
    folder, ledger = held(context)
    edits = folder.solve(ledger, context.checkpoint, ledger.active[:1])  # feasibility costs time, and is nobody's here
    factors = {f"{i}.{side}": getattr(done.update, side) for i, done in enumerate(edits) for side in ("up", "down")}
    write_bytes(context.workdir / "edit.safetensors", save(factors))
    keep(context, "trace", Traces([]))
    keep(context, "validate", MaybeValidation(None))
    nobodys: dict[str, list[object]] = {"feasibility": [], "foreseen": []}
    solves = [done.record.model_copy(update=nobodys) for done in edits]
    keep(context, "edit", Edited(removals=[], solves=solves, ledger=ledger))


def run_publish(context: JobContext) -> None:
    """Write the artifacts and, last, the report that lists them and names what was taken back."""
    context.progress("publish", 0.0, "writing the files")
    _, ledger = held(context)
    report = draft(context).model_copy(update={"ledger": ledger.to_record(ledger.revoked)})
    signing = Signing(open_signer(context.signing_dir, context.now), ledger.attestation_parameters(ledger.revoked))
    if edited(context).solves:
        publish(report, updates(context), context.model_dir, [], context.out, signing=signing)
    else:
        publish_report(report, [], context.out, signing)


def held(context: JobContext) -> tuple[LedgerFolder, Ledger]:
    """The ledger that was handed over."""
    assert context.ledger, "a revocation has a ledger"
    folder = LedgerFolder(context.ledger)
    return folder, folder.read_for(context.checkpoint)


def verdict(context: JobContext) -> Verdict | None:
    """Nothing was measured: these are weights that were never asked for."""
