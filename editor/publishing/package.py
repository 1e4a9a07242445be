"""Publish an edit into a folder: weights in three forms, model card, figures, report."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from api_schemas.report import ArtifactRecord, AuditReport
from editor.checkpoints.folder import file_digest
from editor.publishing.atomic import write_bytes
from editor.publishing.card import render_card
from editor.publishing.delta import Binding, apply_delta, write_delta
from editor.publishing.figures import Picture, trace_map, trade_off_curve
from editor.publishing.html import render
from editor.publishing.lora import write_lora
from editor.quickfix.update import TensorUpdate


def publish(
    report: AuditReport, update: TensorUpdate, model_dir: Path, figures: Sequence[Picture], out_dir: Path
) -> AuditReport:
    """Write everything into ``out_dir`` and return the report with its artifacts filled in.

    The report comes last: a folder with a ``report.json`` is complete. It names every file but itself. Publishing again
    gives the same bytes, so an interrupted run is simply repeated.

    Args:
        report: complete but for ``artifacts``.
        update: what changes, and in which file under ``model_dir``.
        model_dir: the base model's folder.
        figures: sample sheets, named ``samples…``; those that the report's own numbers make are added here.
        out_dir: is made if need be; other files in it stay as they are.

    Raises:
        PublishingError: the base file is not the one in ``report.model.files``.
    """
    pictures = [*figures, *own_figures(report)]
    files = write_weights(report, update, model_dir, out_dir) | write_pictures(pictures, out_dir)
    write_bytes(out_dir / "README.md", render_card(report, pictures).encode())
    files["README.md"] = "card"
    report = report.model_copy(update={"artifacts": records(out_dir, files)})
    write_bytes(out_dir / "report.html", render(report, pictures).encode())
    files["report.html"] = "report"
    report = report.model_copy(update={"artifacts": records(out_dir, files)})
    write_bytes(out_dir / "report.json", report.model_dump_json(indent=2).encode())
    return report


def write_weights(report: AuditReport, update: TensorUpdate, model_dir: Path, out_dir: Path) -> dict[str, str]:
    """The three forms; returns name -> kind. The full one is made from the delta, as anyone else would make it."""
    base = update.file.relative_to(model_dir)
    binding = Binding(base.as_posix(), report.model.files[base.as_posix()], edit_digest(report))
    write_delta({update.stored_name: update.edited}, binding, out_dir / "delta.safetensors")
    write_lora(update, out_dir / "lora.safetensors")
    apply_delta(model_dir, out_dir / "delta.safetensors", out_dir)
    files = {"delta.safetensors": "delta", "lora.safetensors": "lora", base.as_posix(): "weights"}
    config = base.with_name("config.json")
    return files | ({config.as_posix(): "config"} if (out_dir / config).is_file() else {})


def write_pictures(pictures: Sequence[Picture], out_dir: Path) -> dict[str, str]:
    """The figures as files; returns name -> kind."""
    files = {f"figures/{picture.name}.png": picture.png for picture in pictures}
    for name, content in files.items():
        write_bytes(out_dir / name, content)
    return dict.fromkeys(files, "figure")


def own_figures(report: AuditReport) -> list[Picture]:
    """The figures that the report's numbers make."""
    edited = [f"layer {solve.layer} self_attention" for solve in report.solves]
    traces = [trace_map(trace, report.removals[trace.removal], edited) for trace in report.traces]
    curves = [trade_off_curve(solve, index) for index, solve in enumerate(report.solves) if solve.trade_off]
    return [*traces, *curves]


def edit_digest(report: AuditReport) -> str:
    """sha256 over what decides the weights: base, removals in any order, method. Job and labels don't enter."""
    removals = sorted(removal.model_dump_json() for removal in report.removals)
    method = sorted((s.component, s.tensor, s.preset, s.preservation) for s in report.solves)
    return hashlib.sha256(json.dumps([sorted(report.model.files.items()), removals, method]).encode()).hexdigest()


def records(folder: Path, files: Mapping[str, str]) -> list[ArtifactRecord]:
    """An entry for each file, given name -> kind."""
    return [
        ArtifactRecord(name=name, kind=kind, size=(folder / name).stat().st_size, sha256=file_digest(folder / name))
        for name, kind in sorted(files.items())
    ]
