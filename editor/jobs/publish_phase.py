"""The publish phase: write the artifacts and the report, and deliver them."""

import secrets
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from api_schemas.report import AuditReport, CollateralRecord, SolveRecord
from editor.io.atomic import write_bytes
from editor.jobs.attack_phase import attacked
from editor.jobs.context import JobContext
from editor.jobs.edit_phase import edited, updates
from editor.jobs.trace_phase import traced
from editor.jobs.validate_phase import kept_pictures, refused, validation_of, verdict
from editor.ledger import Ledger, LedgerFolder
from editor.publishing import export
from editor.publishing.attestation.keys import open_signer
from editor.publishing.bundle import Signing, publish, publish_withheld
from editor.publishing.deployment.canaries import canaries
from editor.publishing.export import ArtifactFile, published_report
from editor.publishing.filenames import DELTA
from editor.publishing.forecast_calibration import collateral, forecasts
from editor.publishing.limitations import known_limits, not_tested
from editor.publishing.provenance import model_record, software
from editor.publishing.redaction import salted


def run_publish(context: JobContext) -> None:
    """Write the artifacts and, last, the report that lists them."""
    context.progress("publish", 0.0, "writing the files")
    withhold = context.request.withhold_names
    published = partial(publish_withheld, salt=salt_of(context)) if withhold else publish
    published(
        draft(context),
        updates(context),
        context.model_dir,
        kept_pictures(context.workdir / "sheets"),
        context.out,
        full=not context.delta_only,
        signing=signing(context),
    )
    context.progress("publish", 1.0, "written")


def salt_of(context: JobContext) -> str:
    """Random, and the same when the phase is run again."""
    path = context.workdir / "salt"
    if not path.is_file():
        write_bytes(path, secrets.token_hex(32).encode())
    return path.read_text()


def signing(context: JobContext) -> Signing:
    """Who signs, and the request as it was accepted; where names are withheld, its salted digest."""
    request = context.request
    if request.withhold_names:
        parameters: dict[str, Any] = {"requestDigest": salted(salt_of(context), request.digest())}
    else:
        parameters = {"request": request.model_dump(mode="json")}
    return Signing(open_signer(context.signing_dir, context.now), parameters)


def draft(context: JobContext) -> AuditReport:
    """The report, but for its list of files."""
    done, refusal = edited(context), refused(context)
    return AuditReport(
        job_id=context.job_id,
        created_at=context.now,
        model=model_record(context.request.model, context.checkpoint, context.files),
        removals=done.removals,
        solves=done.solves,
        canaries=canaries(context.checkpoint, done.removals, updates(context), layers_of(done.solves)),
        collateral=collateral_of(context),
        traces=traced(context),
        ledger=done.ledger.to_record() if done.ledger and not refusal else None,
        validation=validation_of(context),
        verdict=verdict(context),
        **dict(attacked(context)),
        limits=known_limits(done.removals, context.checkpoint.second_ways),
        untested=not_tested(context.request.validation, features_read=attacked(context).features is not None),
        refused=refusal,
        artifacts=[],
        software=software(),
    )


def layers_of(solves: Sequence[SolveRecord]) -> dict[str, int]:
    """The layer of each tensor."""
    return {solve.tensor: solve.layer for solve in solves}


def collateral_of(context: JobContext) -> CollateralRecord | None:
    """Foreseen against measured, where pictures were drawn."""
    validation, layers = validation_of(context), layers_of(edited(context).solves)
    if validation is None:
        return None
    told = forecasts(context.checkpoint, context.builders, updates(context), layers, validation)
    return collateral(validation, told)


def published(context: JobContext) -> AuditReport:
    """The publish phase's result."""
    return published_report(context.out)


def artifacts(context: JobContext) -> tuple[ArtifactFile, ...]:
    """Every published file, the report last."""
    return export.artifacts(context.out)


def deliver(context: JobContext, out: Path) -> list[Path]:
    """Copy the artifacts to a folder, the report last: a folder with a ``report.json`` is complete. Then the ledger says so.

    Raises:
        LedgerError: somebody else changed the ledger meanwhile. Nothing is delivered then.
    """
    ledger = edited(context).ledger
    if not (context.ledger and ledger) or refused(context):
        return export.deliver(context.out, context.model_dir, out)

    def change(now: Ledger) -> Ledger:
        return now.add(context.entries)

    with LedgerFolder(context.ledger).transaction(context.checkpoint, change, ledger, context.out / DELTA):
        return export.deliver(context.out, context.model_dir, out)
