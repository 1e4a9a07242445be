"""Runs calibration jobs, and fetches published calibrations for edits."""

import importlib
import logging
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from editor.publishing.filenames import MANIFEST
from service.store import calibrations
from service.store.blobs import ArtifactStore
from service.store.database import Database
from service.store.errors import StoreError
from service.store.orm import Artifact
from worker.download import fetch_blob

if TYPE_CHECKING:
    from editor.jobs import calibration_job

PHASES = ("calibrate", "publish")
MARKER = "published"
"""The file in a fetched calibration with the digest of its manifest."""

log = logging.getLogger(__name__)


class CalibrationModule(Protocol):
    """Interface of `editor.jobs.calibration_job`."""

    CalibrationContext: type["calibration_job.CalibrationContext"]

    def calibrate(self, context: "calibration_job.CalibrationContext") -> "calibration_job.CalibratedModel":
        """Calibrate a base model in the job's work folder. Raises `EditorError`."""


def load(module: str) -> CalibrationModule:
    """Import a calibration module. It is imported late, because it imports torch."""
    return cast(CalibrationModule, importlib.import_module(module))


if TYPE_CHECKING:
    _CHECKED_MODULE: CalibrationModule = calibration_job


@dataclass(frozen=True)
class PublishedCalibrations:
    """The calibrations in the blob store, as a source of `editor.jobs`."""

    database: Database
    blobs: ArtifactStore

    def fetch(self, digest: str, folder: Path) -> None:
        """Make a folder the published calibration of the base model with these weights, if there is one.

        A calibration that cannot be read is logged and left out: the report of the edit then says that there is none.
        """
        try:
            with self.database.read() as session:
                files = calibrations.files(session, digest)
            if files and not is_current(folder, files):
                self._replace(folder, files)
        except (StoreError, OSError) as error:
            log.warning("the calibration of %s was not fetched: %s", digest, error)

    def _replace(self, folder: Path, files: Sequence[Artifact]) -> None:
        """Fetch all files into a new folder, and put it in the place of the old one."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".calibration-", dir=folder.parent) as temporary:
            staged, replaced = Path(temporary) / "new", Path(temporary) / "old"
            for file in files:
                fetch_blob(self.blobs, file.sha256, file.size, staged / file.name)
            (staged / MARKER).write_text(manifest_digest(files))
            with suppress(FileNotFoundError):
                folder.rename(replaced)
            staged.rename(folder)


def manifest_digest(files: Sequence[Artifact]) -> str:
    """Return the digest of the manifest, which identifies the calibration."""
    return next(file.sha256 for file in files if file.name == MANIFEST)


def is_current(folder: Path, files: Sequence[Artifact]) -> bool:
    """Return whether the folder is the calibration with these files."""
    with suppress(FileNotFoundError):
        return (folder / MARKER).read_text() == manifest_digest(files)
    return False
