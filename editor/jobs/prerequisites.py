"""Checks that a job can run, before any work is done."""

from pathlib import Path

from api_schemas.edits import EditRequest
from editor.jobs.context import JobContext
from editor.jobs.edit_phase import LedgerJoin
from editor.jobs.model import Model
from editor.publishing.attestation.keys import open_signer


def check_prerequisites(context: JobContext, model: Model, joined: LedgerJoin | None) -> None:
    """Raise EditorError if a later phase could not run, before any work is done.

    Checks that the ledger accepts the removals, that the signing key is usable and, if validation is enabled, that the device
    exists, that images can be generated with the model, and that the requested attacks, detectors and likeness judges are
    installed.
    """
    request = context.request
    if request.validation.enabled:
        context.device.resolve()
        check_validation(request, model.path, context.components)
    if joined:
        joined.updated_ledger(model.checkpoint)
    open_signer(context.signing_dir, context.now)


def check_validation(request: EditRequest, model: Path, components: Path | None) -> None:
    """Raise EditorError if images of the model cannot be generated, attacked, recognised or searched as requested."""
    from editor.generation.pipelines import check_supported_pipeline
    from editor.judging.attacks import load_attacks
    from editor.judging.detectors import load_detectors
    from editor.judging.recognisers import check_recognisers

    check_supported_pipeline(model, components)
    load_attacks(request.validation.attacks)
    load_detectors(request.validation.detectors)
    check_recognisers(request)
