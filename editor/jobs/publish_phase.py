"""The publish phase: write the bundle, with the report last."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from api_schemas.edits import EditRequest
from api_schemas.report import AuditReport, CollateralRecord, TraceRecord
from editor.checkpoints.tensor_update import TensorUpdate
from editor.io.digests import salted_digest
from editor.io.progress import step
from editor.jobs.model import Model
from editor.jobs.results import EditResult, ValidationResult
from editor.publishing.attestation.keys import Signer
from editor.publishing.bundle import Signing, publish, publish_redacted
from editor.publishing.deployment.canaries import make_canaries
from editor.publishing.forecast_calibration import calibrate, forecast_drops
from editor.publishing.limitations import known_limits, list_untested
from editor.publishing.provenance import model_record, profile_record, software_versions


@dataclass(frozen=True)
class Destination:
    """Where a bundle is written, and on whose behalf."""

    out: Path
    job_id: str
    created_at: datetime
    signer: Signer | None
    """None: the bundle is not signed."""
    salt: str
    """Hexadecimal; hides names and digests if the request withholds names."""
    full_weights: bool = True


def run_publish(
    request: EditRequest,
    model: Model,
    edit: EditResult,
    traces: Sequence[TraceRecord],
    validation: ValidationResult,
    to: Destination,
) -> AuditReport:
    """Write the bundle and return its report. Running this again writes the same bytes."""
    updates = edit.updates(model.checkpoint)
    with step(0.0, 0.3):
        draft = draft_report(request, model, edit, updates, traces, validation, to)
    public = partial(publish, comparison=validation.comparison)
    write = partial(publish_redacted, salt=to.salt) if request.withhold_names else public
    signing = Signing(to.signer, signed_parameters(request, to.salt))
    with step(0.3, 0.7):
        return write(draft, updates, model.path, validation.sheets, to.out, full=to.full_weights, signing=signing)


def signed_parameters(request: EditRequest, salt: str) -> dict[str, Any]:
    """Return the request for the attestation; if names are withheld, only its salted digest."""
    if request.withhold_names:
        return {"requestDigest": salted_digest(salt, request.digest())}
    return {"request": request.model_dump(mode="json")}


def draft_report(
    request: EditRequest,
    model: Model,
    edit: EditResult,
    updates: Sequence[TensorUpdate],
    traces: Sequence[TraceRecord],
    validation: ValidationResult,
    to: Destination,
) -> AuditReport:
    """Return the report without its list of files."""
    salt = None if request.withhold_names else to.salt  # a report that withholds names is redacted as a whole
    return AuditReport(
        job_id=to.job_id,
        created_at=to.created_at,
        model=model_record(request.model, model.checkpoint, model.digests),
        profile=profile_record(model.prompts.profile, model.path),
        removals=edit.removals,
        solves=edit.solves,
        canaries=make_canaries(model.checkpoint, edit.removals, updates),
        collateral=calibrate_forecast(model, edit, updates, validation),
        traces=list(traces),
        ledger=edit.ledger.to_record(salt=salt) if edit.ledger and not validation.refusal else None,
        validation=validation.validation,
        verdict=validation.verdict,
        attacks=validation.attacks,
        detectors=validation.detectors,
        features=validation.features,
        limits=known_limits(edit.removals, edit.solves, model.checkpoint),
        untested=list_untested(request.validation, features_read=validation.features is not None),
        refused=validation.refusal,
        artifacts=[],
        software=software_versions(),
    )


def calibrate_forecast(
    model: Model, edit: EditResult, updates: Sequence[TensorUpdate], validation: ValidationResult
) -> CollateralRecord | None:
    """Compare the forecast collateral damage with the measured one. Return None without validation."""
    measured = validation.validation
    if measured is None:
        return None
    foreseen = forecast_drops(model.checkpoint, model.prompt_builders, list(updates), measured)
    return calibrate(measured, foreseen)
