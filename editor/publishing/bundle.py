"""Publish an edit into a folder: delta, LoRA, model card, figures, report, and how the full weights are put together."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import RootModel

from api_schemas.overlays import Overlay, Segment
from api_schemas.report import ArtifactRecord, AuditReport
from editor.checkpoints.safe_paths import file_digest
from editor.io.atomic import write_bytes
from editor.io.plotting import Figure, Picture, file_of
from editor.methods.tensor_update import TensorUpdate
from editor.publishing.apply import check_file, patches
from editor.publishing.attestation.dsse import bundle, seal
from editor.publishing.attestation.keys import Signer
from editor.publishing.attestation.statements import statements
from editor.publishing.charts import charts
from editor.publishing.delta import tensor_record, write_delta
from editor.publishing.filenames import (
    ATTESTATION,
    CARD,
    DELTA,
    OVERLAYS,
    PAGE,
    PRINT,
    PRIVATE_PAGE,
    PRIVATE_REPORT,
    REPORT,
)
from editor.publishing.html import render
from editor.publishing.lora import pointless, write_loras
from editor.publishing.model_card import render_card
from editor.publishing.overlay import segments_digest
from editor.publishing.pdf import print_out
from editor.publishing.redaction import PrivateReport, withheld
from editor.publishing.sidecar_files import companions

Overlays = RootModel[dict[str, Overlay]]
"""By the files' names."""


@dataclass(frozen=True)
class Signing:
    """Who signs what is published, and what was asked for."""

    signer: Signer | None = None
    """None: nothing is signed, and the report says so."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """SLSA's external parameters, as :func:`editor.publishing.attestation.statements.provenance` puts them down."""


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
) -> AuditReport:
    """Write everything into ``out_dir`` and return the report with its artifacts filled in.

    The report comes last: a folder with a ``report.json`` is complete. It names every file but itself and the attestation,
    which is over the report too. Publishing again gives the same bytes, so an interrupted run is simply repeated. Full
    weights are listed with their digests, but not written: :func:`published_overlays` tells how they are put together.

    Args:
        report: complete but for ``artifacts``, ``lora_note``, ``signed_by`` and ``tensors``.
        updates: what changes, and in which files of the model.
        model: the base model: its folder, or its single file.
        figures: sample sheets, named ``samples…``; those that the report's own numbers make are added here.
        out_dir: is made if need be; other files in it stay as they are.
        full: whether full weights are published too.
        signing: who signs.

    Raises:
        PublishingError: a base file is not the one in ``report.model.files``, or not the one that ``updates`` are for.
    """
    if report.refused:
        return publish_report(report, figures, out_dir, signing)
    write_delta(updates, model, out_dir / DELTA, request=edit_digest(report), digests=report.model.files)
    overlays = plan_overlays(report, model, out_dir / DELTA) if full else {}
    write_bytes(out_dir / OVERLAYS, Overlays(overlays).model_dump_json().encode())
    pictures: list[Figure] = [*figures, *charts(report)]
    files: dict[str, str] = (
        {DELTA: "delta"} | write_configs(model, overlays, out_dir) | write_pictures(pictures, out_dir)
    )
    note = pointless(updates)
    if note is None:
        files |= dict.fromkeys(write_loras(updates, report.model.family, out_dir), "lora")
    facts = {
        "lora_note": note,
        "tensors": [tensor_record(update) for update in updates],
        "signed_by": signing.signer.keyid if signing.signer else None,
        "artifacts": records(out_dir, files, overlays),
    }
    report = write_texts(report.model_copy(update=facts), pictures, out_dir, files, overlays)
    finish(report, signing, out_dir)
    return report


def publish_withheld(
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
    """:func:`publish` without names, and beside it the private report, which has them and the sample sheets.

    Args:
        salt: hexadecimal; the same again gives the same bytes.
    """
    whole = report.model_copy(update={"tensors": [tensor_record(update) for update in updates]})
    private = PrivateReport(salt=salt, report=whole)
    write_bytes(out_dir / PRIVATE_REPORT, private.model_dump_json(indent=2).encode())
    write_bytes(out_dir / PRIVATE_PAGE, render(whole, [*figures, *charts(whole)]).encode())
    return publish(withheld(report, salt), updates, model, [], out_dir, full=full, signing=signing)


def publish_report(
    report: AuditReport, figures: Sequence[Figure], out_dir: Path, signing: Signing = UNSIGNED
) -> AuditReport:
    """The report alone, where no weights are published; see :func:`publish`."""
    write_bytes(out_dir / OVERLAYS, Overlays({}).model_dump_json().encode())
    pictures: list[Figure] = [*figures, *charts(report)]
    files = write_pictures(pictures, out_dir)
    facts = {
        "signed_by": signing.signer.keyid if signing.signer else None,
        "artifacts": records(out_dir, files, {}),
    }
    report = write_texts(report.model_copy(update=facts), pictures, out_dir, files, {})
    finish(report, signing, out_dir)
    return report


def write_texts(
    report: AuditReport,
    pictures: Sequence[Figure],
    out_dir: Path,
    files: Mapping[str, str],
    overlays: Mapping[str, Overlay],
) -> AuditReport:
    """The card, and the report for people on screen and in print; each lists what came before it."""
    texts = ((CARD, "card", render_card), (PAGE, "report", render), (PRINT, "report", print_out))
    for name, kind, written in texts if DELTA in files else texts[1:]:  # no card where there are no weights
        content = written(report, pictures)
        write_bytes(out_dir / name, content if isinstance(content, bytes) else content.encode())
        files = {**files, name: kind}
        report = report.model_copy(update={"artifacts": records(out_dir, files, overlays)})
    return report


def finish(report: AuditReport, signing: Signing, out_dir: Path) -> None:
    """The attestation of everything and, last, the report for programs."""
    published = report.model_dump_json(indent=2).encode()
    if signing.signer:
        signed = [seal(one, signing.signer) for one in statements(report, signing.parameters, published)]
        write_bytes(out_dir / ATTESTATION, bundle(signed))
    else:
        (out_dir / ATTESTATION).unlink(missing_ok=True)
    write_bytes(out_dir / REPORT, published)


def published_overlays(out_dir: Path) -> dict[str, Overlay]:
    """How each file that is published but not stored is put together."""
    return Overlays.model_validate_json((out_dir / OVERLAYS).read_bytes()).root


def plan_overlays(report: AuditReport, model: Path, delta: Path) -> dict[str, Overlay]:
    """The edited files, and other shards of the same weights as they are."""
    plan = patches(model, delta)
    overlays = {patch.name: overlay(report, patch.name, patch.base, delta, patch.segments) for patch in plan}
    beside = companions(model, list(overlays)) if model.is_dir() else ()
    for name in (name for name in beside if name.endswith(".safetensors")):
        whole = Segment(source="base", start=0, end=(model / name).stat().st_size)
        overlays[name] = overlay(report, name, model / name, delta, (whole,))
    return overlays


def overlay(report: AuditReport, name: str, base: Path, delta: Path, segments: tuple[Segment, ...]) -> Overlay:
    """One published file. Base and result are read once each, for their digests.

    Raises:
        PublishingError: the base is not the file that the report names.
    """
    state = base.stat()
    check_file(base, report.model.files[name])
    return Overlay(
        base=name,
        base_sha256=report.model.files[name],
        base_size=state.st_size,
        base_mtime_ns=state.st_mtime_ns,
        delta_sha256=file_digest(delta),
        segments=segments,
        sha256=segments_digest(segments, base, delta),
    )


def write_configs(model: Path, overlays: Mapping[str, Overlay], out_dir: Path) -> dict[str, str]:
    """The small files that full weights need beside them; returns name -> kind."""
    names = companions(model, list(overlays)) if model.is_dir() else ()
    configs = [name for name in names if name.endswith(".json")]
    for name in configs:
        write_bytes(out_dir / name, (model / name).read_bytes())
    return dict.fromkeys(configs, "config")


def write_pictures(pictures: Sequence[Figure], out_dir: Path) -> dict[str, str]:
    """The figures as files; returns name -> kind."""
    files = dict(file_of(picture) for picture in pictures)
    for name, content in files.items():
        write_bytes(out_dir / name, content)
    return dict.fromkeys(files, "figure")


def edit_digest(report: AuditReport) -> str:
    """sha256 over what decides the weights: base, removals in any order, method. Job and labels don't enter.

    An edit that belongs to a ledger goes by the ledger's digest: whoever came last, its weights are the same.
    """
    if report.ledger:
        return report.ledger.digest
    removals = sorted(removal.model_dump_json() for removal in report.removals)
    method = sorted((s.component, s.tensor, s.preset, s.preservation) for s in report.solves)
    return hashlib.sha256(json.dumps([sorted(report.model.files.items()), removals, method]).encode()).hexdigest()


def records(folder: Path, files: Mapping[str, str], overlays: Mapping[str, Overlay]) -> list[ArtifactRecord]:
    """An entry for each file, given name -> kind, and for each that is not stored."""
    stored = [
        ArtifactRecord(name=name, kind=kind, size=(folder / name).stat().st_size, sha256=file_digest(folder / name))
        for name, kind in files.items()
    ]
    streamed = [
        ArtifactRecord(name=name, kind="weights", size=overlay.size, sha256=overlay.sha256)
        for name, overlay in overlays.items()
    ]
    return sorted([*stored, *streamed], key=lambda record: record.name)
