"""Runs preview jobs."""

import importlib
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from editor.jobs import preview
    from editor.publishing.export import ArtifactFile

PHASES = ("generate", "publish")
DELTA = "delta.safetensors"
"""The edit's delta in the work folder."""


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
