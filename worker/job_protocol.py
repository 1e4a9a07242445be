"""The editor as the worker sees it: phases that leave their results in a folder. Loaded late: it brings torch."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from api_schemas.ledgers import LedgerSnapshot
from api_schemas.report import Verdict

if TYPE_CHECKING:
    from editor import jobs
    from editor.jobs import dry_run, revocation
    from editor.publishing.export import ArtifactFile


class JobModule(Protocol):
    """`editor.jobs`. Each phase is idempotent, and finished when its result lies in the workdir."""

    PHASES: tuple[str, ...]
    JobContext: type["jobs.JobContext"]

    def finished(self, phase: str, context: "jobs.JobContext") -> bool:
        """Whether an earlier attempt has done this phase."""

    def run_phase(self, phase: str, context: "jobs.JobContext") -> None:
        """Do it. Raises `EditorError`."""

    def artifacts(self, context: "jobs.JobContext") -> tuple["ArtifactFile", ...]:
        """What the last phase made."""

    def hand_over(self, folder: Path, model_dir: Path, held: LedgerSnapshot) -> Path:
        """Write the ledger that a job starts from into `folder`."""

    def verdict(self, context: "jobs.JobContext") -> Verdict | None:
        """What the validation found."""


def load(module: str) -> JobModule:
    """Import the editor."""
    return cast(JobModule, importlib.import_module(module))


if TYPE_CHECKING:
    _CHECKED_MODULES: tuple[JobModule, ...] = (jobs, dry_run, revocation)
