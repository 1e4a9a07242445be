"""Runs preview jobs."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from api_schemas.previews import PreviewTask
from service.store.blobs import ArtifactStore
from worker.download import fetch_blob

if TYPE_CHECKING:
    from editor.jobs import preview
    from editor.publishing.export import ArtifactFile

PHASES = ("generate", "publish")
DELTA, AUTOENCODER = "delta.safetensors", "autoencoder"
"""The edit's delta, or the folder of the autoencoder, in the work folder."""


def fetch_change(blobs: ArtifactStore, task: PreviewTask, workdir: Path) -> Path:
    """Fetch what changes the base model: the edit's published delta, or the autoencoder whose features are steered."""
    if task.autoencoder is None:
        return fetch_blob(blobs, task.delta_sha256, task.delta_size, workdir / DELTA)
    for name, file in task.autoencoder.files.items():
        fetch_blob(blobs, file.sha256, file.size, workdir / AUTOENCODER / name)
    return workdir / AUTOENCODER


class PreviewModule(Protocol):
    """Interface of `editor.jobs.preview`."""

    PreviewContext: type["preview.PreviewContext"]

    def generate(self, context: "preview.PreviewContext") -> "tuple[ArtifactFile, ...]":
        """Generate the images in the job's work folder. Raises `EditorError`."""


def load(module: str) -> PreviewModule:
    """Import a preview module. It is imported late, because it imports torch."""
    return cast(PreviewModule, importlib.import_module(module))


if TYPE_CHECKING:
    _CHECKED_MODULE: PreviewModule = preview
