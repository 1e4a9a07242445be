"""The interface of the editor's job modules. They are imported late, because they import torch."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from api_schemas.ledgers import LedgerSnapshot
from api_schemas.report import Verdict

if TYPE_CHECKING:
    from editor import jobs
    from editor.jobs import dry_run, revocation
    from editor.publishing.export import ArtifactFile


class JobModule(Protocol):
    """Interface of `editor.jobs`. Each phase is idempotent and finished once its result is in the work folder."""

    PHASES: tuple[str, ...]
    JobContext: type["jobs.JobContext"]

    def finished(self, phase: str, context: "jobs.JobContext") -> bool:
        """Return whether an earlier attempt has finished the phase."""

    def run_phase(self, phase: str, context: "jobs.JobContext") -> None:
        """Run the phase. Raises `EditorError`."""

    def artifacts(self, context: "jobs.JobContext") -> tuple["ArtifactFile", ...]:
        """Return the files that the last phase wrote."""

    def write_snapshot(self, folder: Path, model_dir: Path, held: LedgerSnapshot) -> Path:
        """Write the ledger that a job starts from into `folder`."""

    def solved_parameters(self, context: "jobs.JobContext") -> list[dict[str, Any]]:
        """Return what was found for each removal that the job adds to its ledger."""

    def verdict(self, context: "jobs.JobContext") -> Verdict | None:
        """Return the verdict of the validation, or None."""


def load(module: str) -> JobModule:
    """Import a job module."""
    return cast(JobModule, importlib.import_module(module))


if TYPE_CHECKING:
    _CHECKED_MODULES: tuple[JobModule, ...] = (jobs, dry_run, revocation)
