"""Write the bundle of an edit: delta, LoRA, model card, figures, report, and the overlays of the full weights."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from api_schemas.comparisons import COMPARISON_FILE, COMPARISON_IMAGES
from api_schemas.overlays import Overlay, Segment
from api_schemas.report import ArtifactRecord, AuditReport
from editor.checkpoints.tensor_update import TensorUpdate
from editor.io.atomic import write_bytes
from editor.io.background import run_in_background
from editor.io.digest_cache import remembered_digest
from editor.io.digests import file_digest, sha256_hex
from editor.io.figures import Figure, Picture, figure_file
from editor.io.progress import step, track
from editor.judging.comparison_pack import ComparisonPack
from editor.publishing.apply import plan_patches, wrong_base
from editor.publishing.attestation.dsse import sign_statement, to_json_lines
from editor.publishing.attestation.keys import Signer
from editor.publishing.attestation.statements import make_statements
from editor.publishing.charts import make_charts
from editor.publishing.delta import tensor_record, write_delta
from editor.publishing.filenames import (
    ATTESTATION,
    DELTA,
    MODEL_CARD,
    OVERLAYS,
    PRIVATE_REPORT,
    PRIVATE_REPORT_HTML,
    REPORT,
    REPORT_HTML,
    REPORT_PDF,
)
from editor.publishing.html import render_html
from editor.publishing.lora import LOADER_NOTES, reason_against_lora, write_loras
from editor.publishing.model_card import render_model_card
from editor.publishing.overlay import Overlays, segments_digest
from editor.publishing.pdf import render_pdf
from editor.publishing.redaction import PrivateReport, redact_report
from editor.publishing.sidecar_files import sidecar_files


@dataclass(frozen=True)
class Signing:
    """The key that signs a bundle, and the parameters that the attestation records."""

    signer: Signer | None = None
    """None: the bundle is not signed, and the report says so."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """The external parameters of the SLSA provenance, such as the request."""


UNSIGNED = Signing()


def publish(
    report: AuditReport,
    updates: Sequence[TensorUpdate],
    model: Path,
    figures: Sequence[Picture],
    out_dir: Path,
    *,
    full: bool = True,
    signing: Signing = UNSIGNED,
    comparison: ComparisonPack | None = None,
) -> AuditReport:
    """Write a bundle into ``out_dir`` and return its report, with the artifacts filled in.

    The report is written last: a folder with a ``report.json`` is complete. It lists every file except itself and the
    attestation, which covers the report. Publishing again gives the same bytes, so an interrupted run is simply repeated. Full
    weights are listed with their digests, but not written; see :func:`read_overlays`.

    Args:
        report: complete except for ``artifacts``, ``lora_note``, ``signed_by`` and ``tensors``.
        updates: the tensor updates; without any, only the report is written.
        model: the base model: its folder, or its single file.
        figures: sample sheets, named ``samples…``. Charts of the report's numbers are added to them.
        out_dir: created if it does not exist; other files in it are left alone.
        full: whether to publish full weights too.
        signing: the signing key, and the parameters to attest.
        comparison: images before and after the edit, if they are published.

    Raises:
        PublishingError: a base file differs from the one in ``report.model.files`` or from the one that was edited.
    """
    if report.refused or not updates:
        return publish_report(report, figures, out_dir, signing, comparison)
    write_delta(updates, model, out_dir / DELTA, request=edit_digest(report), digests=report.model.files)
    planned = run_in_background(lambda: plan_overlays(report, model, out_dir / DELTA) if full else {})
    pictures: list[Figure] = [*figures, *make_charts(report)]
    files: dict[str, str] = {DELTA: "delta"} | write_figures(pictures, out_dir) | write_comparison(comparison, out_dir)
    note = reason_against_lora(updates)
    if note is None:
        files |= dict.fromkeys(write_loras(updates, report.model.family, out_dir), "lora")
        note = LOADER_NOTES.get(report.model.family)
    tensors = [tensor_record(update) for update in updates]
    with step(0.0, 0.6):
        overlays = planned.join()
    write_bytes(out_dir / OVERLAYS, Overlays(overlays).model_dump_json().encode())
    files |= write_configs(model, overlays, out_dir)
    facts = {
        "lora_note": note,
        "tensors": tensors,
        "signed_by": signing.signer.keyid if signing.signer else None,
        "artifacts": artifact_records(out_dir, files, overlays),
    }
    with step(0.6, 0.4):
        report = write_documents(report.model_copy(update=facts), pictures, out_dir, files, overlays)
    write_report(report, signing, out_dir)
    return report


def publish_redacted(
    report: AuditReport,
    updates: Sequence[TensorUpdate],
    model: Path,
    figures: Sequence[Picture],
    out_dir: Path,
    *,
    salt: str,
    full: bool = True,
    signing: Signing = UNSIGNED,
) -> AuditReport:
    """Publish without names, and write the private report, which has the names and the sample sheets; see :func:`publish`.

    Args:
        salt: hexadecimal. The same salt gives the same bytes.
    """
    whole = report.model_copy(update={"tensors": [tensor_record(update) for update in updates]})
    private = PrivateReport(salt=salt, report=whole)
    write_bytes(out_dir / PRIVATE_REPORT, private.model_dump_json(indent=2).encode())
    write_bytes(out_dir / PRIVATE_REPORT_HTML, render_html(whole, [*figures, *make_charts(whole)]).encode())
    return publish(redact_report(report, salt), updates, model, [], out_dir, full=full, signing=signing)


def publish_report(
    report: AuditReport,
    figures: Sequence[Figure],
    out_dir: Path,
    signing: Signing = UNSIGNED,
    comparison: ComparisonPack | None = None,
) -> AuditReport:
    """Write the report only, if no weights are published; see :func:`publish`."""
    write_bytes(out_dir / OVERLAYS, Overlays({}).model_dump_json().encode())
    pictures: list[Figure] = [*figures, *make_charts(report)]
    files = write_figures(pictures, out_dir) | write_comparison(comparison, out_dir)
    facts = {
        "signed_by": signing.signer.keyid if signing.signer else None,
        "artifacts": artifact_records(out_dir, files, {}),
    }
    report = write_documents(report.model_copy(update=facts), pictures, out_dir, files, {})
    write_report(report, signing, out_dir)
    return report


def write_documents(
    report: AuditReport,
    pictures: Sequence[Figure],
    out_dir: Path,
    files: Mapping[str, str],
    overlays: Mapping[str, Overlay],
) -> AuditReport:
    """Write the model card and the report as HTML and PDF; each lists the files written before it."""
    documents = (
        (MODEL_CARD, "card", render_model_card),
        (REPORT_HTML, "report", render_html),
        (REPORT_PDF, "report", render_pdf),
    )
    for name, kind, render in track(documents if DELTA in files else documents[1:]):  # no model card without weights
        content = render(report, pictures)
        write_bytes(out_dir / name, content if isinstance(content, bytes) else content.encode())
        files = {**files, name: kind}
        report = report.model_copy(update={"artifacts": artifact_records(out_dir, files, overlays)})
    return report


def write_report(report: AuditReport, signing: Signing, out_dir: Path) -> None:
    """Write the attestation, which covers every file, and then ``report.json``."""
    published = report.model_dump_json(indent=2).encode()
    if signing.signer:
        envelopes = [
            sign_statement(one, signing.signer) for one in make_statements(report, signing.parameters, published)
        ]
        write_bytes(out_dir / ATTESTATION, to_json_lines(envelopes))
    else:
        (out_dir / ATTESTATION).unlink(missing_ok=True)
    write_bytes(out_dir / REPORT, published)


def plan_overlays(report: AuditReport, model: Path, delta: Path) -> dict[str, Overlay]:
    """Return the overlays of the edited files and of the unchanged shards of the same weights."""
    planned = {patch.name: (patch.base, patch.segments) for patch in plan_patches(model, delta)}
    sidecars = sidecar_files(model, list(planned)) if model.is_dir() else ()
    for name in (name for name in sidecars if name.endswith(".safetensors")):
        whole = Segment(source="base", start=0, end=(model / name).stat().st_size)
        planned[name] = (model / name, (whole,))
    return {
        name: make_overlay(report, name, base, delta, segments) for name, (base, segments) in track(planned.items())
    }


def make_overlay(report: AuditReport, name: str, base: Path, delta: Path, segments: tuple[Segment, ...]) -> Overlay:
    """Return the overlay of one file. The base and the result are read once each, for their digests; reports the progress.

    Raises:
        PublishingError: the base file differs from the one in the report.
    """
    state = base.stat()
    if remembered_digest(base) != report.model.files[name]:
        raise wrong_base(base, f"the file must have sha256 {report.model.files[name]}")
    sha256 = segments_digest(segments, base, delta)
    return Overlay(
        base=name,
        base_sha256=report.model.files[name],
        base_size=state.st_size,
        base_mtime_ns=state.st_mtime_ns,
        delta_sha256=file_digest(delta),
        segments=segments,
        sha256=sha256,
    )


def write_configs(model: Path, overlays: Mapping[str, Overlay], out_dir: Path) -> dict[str, str]:
    """Write the configuration files that full weights need, and return name -> kind."""
    names = sidecar_files(model, list(overlays)) if model.is_dir() else ()
    configs = [name for name in names if name.endswith(".json")]
    for name in configs:
        write_bytes(out_dir / name, (model / name).read_bytes())
    return dict.fromkeys(configs, "config")


def write_figures(pictures: Sequence[Figure], out_dir: Path) -> dict[str, str]:
    """Write the figures, and return name -> kind."""
    files = dict(figure_file(picture) for picture in pictures)
    for name, content in files.items():
        write_bytes(out_dir / name, content)
    return dict.fromkeys(files, "figure")


def write_comparison(comparison: ComparisonPack | None, out_dir: Path) -> dict[str, str]:
    """Write the images for comparison with their index, and return name -> kind."""
    if comparison is None:
        return {}
    write_bytes(out_dir / COMPARISON_IMAGES, comparison.images)
    write_bytes(out_dir / COMPARISON_FILE, comparison.index.model_dump_json().encode())
    return dict.fromkeys((COMPARISON_IMAGES, COMPARISON_FILE), "images")


def edit_digest(report: AuditReport) -> str:
    """Return the sha256 of what determines the weights: base model, removals in any order, method. Job and labels do not count.

    For an edit that belongs to a ledger this is the ledger's digest: the weights do not depend on the last request.
    """
    if report.ledger:
        return report.ledger.digest
    removals = sorted(removal.model_dump_json() for removal in report.removals)
    method = sorted((s.component, s.tensor, s.method, s.preservation) for s in report.solves)
    weights = sorted((name, sha) for name, sha in report.model.files.items() if name.endswith(".safetensors"))
    return sha256_hex(json.dumps([weights, removals, method]))


def artifact_records(folder: Path, files: Mapping[str, str], overlays: Mapping[str, Overlay]) -> list[ArtifactRecord]:
    """Return a record of each stored file (name -> kind) and of each overlay, sorted by name."""
    stored = [
        ArtifactRecord(name=name, kind=kind, size=(folder / name).stat().st_size, sha256=file_digest(folder / name))
        for name, kind in files.items()
    ]
    streamed = [
        ArtifactRecord(name=name, kind="weights", size=overlay.size, sha256=overlay.sha256)
        for name, overlay in overlays.items()
    ]
    return sorted([*stored, *streamed], key=lambda record: record.name)
