"""Carry an edit over to another model with the same text encoders: its delta is applied, and nothing is solved or judged.

The replaced tensors are checked by their digests, so the result is the same as if the edit had been solved for the model.
"""

from pathlib import Path

from api_schemas.overlays import Overlay
from api_schemas.report import AuditReport
from editor.io.atomic import write_bytes
from editor.io.digests import file_digest
from editor.io.progress import track
from editor.jobs.context import JobContext
from editor.jobs.erase import EraseJob
from editor.jobs.publish_phase import signed_parameters
from editor.ledger import Ledger
from editor.publishing.apply import Patch, plan_patches
from editor.publishing.attestation.keys import open_signer
from editor.publishing.bundle import Signing, artifact_records, make_overlay, write_configs, write_report
from editor.publishing.export import read_report
from editor.publishing.filenames import DELTA, OVERLAYS, REPORT_HTML
from editor.publishing.html import render_html
from editor.publishing.overlay import Overlays, read_overlays
from editor.publishing.provenance import model_record, software_versions

LORA_PATTERN = "lora*.safetensors"


def carry(context: JobContext, source: Path) -> AuditReport:
    """Publish the delta of another edit for the context's model, and return the report.

    Args:
        context: the job; its request joins a ledger.
        source: the published files of the other edit: delta, LoRAs, overlays and report.

    Raises:
        PublishingError: the model has other tensors than the one that was edited.
        LedgerConflict: the removals contradict active ones.
    """
    job, out = EraseJob(context), context.out
    assert job.ledger, "carried edits join a ledger"
    ledger, _ = job.ledger.updated_ledger(job.model.checkpoint)
    report = carried_report(job, ledger, read_report(source))
    files = copy_files(source, out)
    overlays = carried_overlays(report, plan_patches(job.model.path, out / DELTA), out / DELTA, read_overlays(source))
    write_bytes(out / OVERLAYS, Overlays(overlays).model_dump_json().encode())
    files |= write_configs(job.model.path, overlays, out)
    signer = open_signer(context.signing_dir, context.now)
    facts = {"signed_by": signer.keyid if signer else None, "artifacts": artifact_records(out, files, overlays)}
    report = report.model_copy(update=facts)
    write_bytes(out / REPORT_HTML, render_html(report, []).encode())
    files[REPORT_HTML] = "report"
    report = report.model_copy(update={"artifacts": artifact_records(out, files, overlays)})
    write_report(report, Signing(signer, signed_parameters(context.request, job.salt)), out)
    return report


def carried_report(job: EraseJob, ledger: Ledger, source: AuditReport) -> AuditReport:
    """Return the report of the other edit as that of this one. What was measured on the other model is left out."""
    context = job.context
    note = (
        f"The delta was solved for {source.model.id}, which has the same text encoders (edit {source.job_id}); "
        "no images of this model were generated."
    )
    changes = {
        "job_id": context.job_id,
        "created_at": context.now,
        "model": model_record(context.request.model, job.model.checkpoint, job.model.digests),
        "ledger": ledger.to_record(salt=job.salt),
        "validation": None,
        "verdict": None,
        "attacks": [],
        "detectors": [],
        "features": None,
        "collateral": None,
        "traces": [],
        "limits": [note, *source.limits],
        "artifacts": [],
        "software": software_versions(),
    }
    return source.model_copy(update=changes)


def copy_files(source: Path, out: Path) -> dict[str, str]:
    """Copy the delta and the LoRAs, and return name -> kind."""
    loras = {path.name: "lora" for path in sorted(source.glob(LORA_PATTERN))}
    for name in (DELTA, *loras):
        write_bytes(out / name, (source / name).read_bytes())
    return {DELTA: "delta", **loras}


def carried_overlays(
    report: AuditReport, patches: list[Patch], delta: Path, known: dict[str, Overlay]
) -> dict[str, Overlay]:
    """Return the overlays of the edited files. A base file that is equal to the other model's is not read again."""
    overlays = {}
    for patch in track(patches):
        other = known.get(patch.name)
        if other and (other.base_sha256, other.segments) == (report.model.files[patch.name], patch.segments):
            state = patch.base.stat()
            changes = {"base_mtime_ns": state.st_mtime_ns, "delta_sha256": file_digest(delta)}
            overlays[patch.name] = other.model_copy(update=changes)
        else:
            overlays[patch.name] = make_overlay(report, patch.name, patch.base, delta, patch.segments)
    return overlays
