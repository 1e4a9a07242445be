"""Checks that a job can run, before any work is done."""

from datetime import datetime
from pathlib import Path

from api_schemas.edits import EditRequest
from editor.generation.device import DeviceSettings
from editor.jobs.edit_phase import LedgerJoin
from editor.jobs.model import Model
from editor.publishing.attestation.keys import open_signer


def check_prerequisites(
    request: EditRequest,
    model: Model,
    joined: LedgerJoin | None,
    signing_dir: Path | None,
    now: datetime,
    device: DeviceSettings,
) -> None:
    """Raise EditorError if a later phase could not run, before any work is done.

    Checks that the ledger accepts the removals, that the signing key is usable and, if validation is enabled, that the device
    exists, that images can be generated with the model, and that the requested attacks, detectors and likeness judges are
    installed.
    """
    if request.validation.enabled:
        device.resolve()
        check_validation(request, model.path)
    if joined:
        joined.updated_ledger(model.checkpoint)
    open_signer(signing_dir, now)


def check_validation(request: EditRequest, model: Path) -> None:
    """Raise EditorError if images of the model cannot be generated, attacked, recognised or searched as requested."""
    from editor.generation.pipelines import check_supported_pipeline
    from editor.judging.attacks import load_attacks
    from editor.judging.detectors import load_detectors
    from editor.judging.recognisers import check_recognisers

    check_supported_pipeline(model)
    load_attacks(request.validation.attacks)
    load_detectors(request.validation.detectors)
    check_recognisers(request)
