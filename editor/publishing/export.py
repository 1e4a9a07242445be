"""Published files on their way out: what there is, and copying it to where it is wanted."""

from dataclasses import dataclass
from pathlib import Path

from api_schemas.overlays import Overlay
from api_schemas.report import AuditReport
from editor.io.atomic import replacing
from editor.publishing.bundle import published_overlays
from editor.publishing.filenames import ATTESTATION, DELTA, PRIVATE_PAGE, PRIVATE_REPORT, REPORT
from editor.publishing.overlay import write_overlay

PRIVATE = "private"
"""The kind of what only its owner may see."""
MEDIA_TYPES = {
    ".safetensors": "application/octet-stream",
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".jsonl": "application/jsonl",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class ArtifactFile:
    """A published file; ``name`` is its path inside the bundle."""

    name: str
    path: Path
    """Of its content; of the delta where the file is an overlay."""
    media_type: str
    kind: str
    overlay: Overlay | None = None
    """How the file is put together, where it is not stored."""


def published_report(folder: Path) -> AuditReport:
    """The report of a folder that :func:`editor.publishing.bundle.publish` wrote."""
    return AuditReport.model_validate_json((folder / REPORT).read_bytes())


def artifacts(folder: Path) -> tuple[ArtifactFile, ...]:
    """Every published file, the report last; those of the kind ``private`` are for whoever asked, and nobody else."""
    beside = {ATTESTATION: "attestation", PRIVATE_REPORT: PRIVATE, PRIVATE_PAGE: PRIVATE}
    there = {name: kind for name, kind in beside.items() if (folder / name).is_file()}
    kinds = {record.name: record.kind for record in published_report(folder).artifacts} | there | {REPORT: "report"}
    overlays = published_overlays(folder)

    def artifact(name: str, kind: str) -> ArtifactFile:
        path = folder / (DELTA if name in overlays else name)
        return ArtifactFile(name, path, MEDIA_TYPES[Path(name).suffix], kind, overlays.get(name))

    return tuple(artifact(name, kind) for name, kind in kinds.items())


def deliver(folder: Path, model: Path, out: Path) -> list[Path]:
    """Copy the files of ``folder`` to ``out``, the report last: a folder with a ``report.json`` is complete.

    Raises:
        PublishingError: the base model has changed since.
    """
    files = artifacts(folder)
    for artifact in files:
        with replacing(out / artifact.name) as target:
            if artifact.overlay:
                write_overlay(artifact.overlay, model, artifact.path, target)
            else:
                target.write(artifact.path.read_bytes())
        if artifact.kind == PRIVATE:
            (out / artifact.name).chmod(0o600)
    return [out / artifact.name for artifact in files]
