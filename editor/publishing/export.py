"""List the files of a bundle, and copy them to another folder."""

from dataclasses import dataclass
from pathlib import Path

from api_schemas.overlays import Overlay
from api_schemas.report import AuditReport
from editor.io.atomic import open_atomic
from editor.publishing.filenames import ATTESTATION, DELTA, PRIVATE_REPORT, PRIVATE_REPORT_HTML, REPORT
from editor.publishing.overlay import read_overlays, write_overlay

PRIVATE_KIND = "private"
"""The kind of files that only their owner may read."""
MEDIA_TYPES = {
    ".safetensors": "application/octet-stream",
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".jsonl": "application/jsonl",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".zip": "application/zip",
}


@dataclass(frozen=True)
class ArtifactFile:
    """A file of a bundle; ``name`` is its path inside the bundle."""

    name: str
    path: Path
    """The file's content; for an overlay, the delta."""
    media_type: str
    kind: str
    overlay: Overlay | None = None
    """How the file is assembled, if it is not stored."""


def read_report(folder: Path) -> AuditReport:
    """Read the report of a bundle that :func:`editor.publishing.bundle.publish` wrote."""
    return AuditReport.model_validate_json((folder / REPORT).read_bytes())


def list_artifacts(folder: Path) -> tuple[ArtifactFile, ...]:
    """List every file of a bundle, the report last. Files of the kind ``private`` are for their owner only."""
    unlisted = {ATTESTATION: "attestation", PRIVATE_REPORT: PRIVATE_KIND, PRIVATE_REPORT_HTML: PRIVATE_KIND}
    present = {name: kind for name, kind in unlisted.items() if (folder / name).is_file()}
    kinds = {record.name: record.kind for record in read_report(folder).artifacts} | present | {REPORT: "report"}
    overlays = read_overlays(folder)

    def artifact(name: str, kind: str) -> ArtifactFile:
        path = folder / (DELTA if name in overlays else name)
        return ArtifactFile(name, path, MEDIA_TYPES[Path(name).suffix], kind, overlays.get(name))

    return tuple(artifact(name, kind) for name, kind in kinds.items())


def deliver(folder: Path, model: Path, out: Path) -> list[Path]:
    """Copy a bundle to ``out``, the report last: a folder with a ``report.json`` is complete.

    Raises:
        PublishingError: the base model has changed since the bundle was written.
    """
    files = list_artifacts(folder)
    for artifact in files:
        with open_atomic(out / artifact.name) as target:
            if artifact.overlay:
                write_overlay(artifact.overlay, model, artifact.path, target)
            else:
                target.write(artifact.path.read_bytes())
        if artifact.kind == PRIVATE_KIND:
            (out / artifact.name).chmod(0o600)
    return [out / artifact.name for artifact in files]
