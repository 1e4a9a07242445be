"""What every kind of job shares."""

import secrets
from dataclasses import dataclass
from functools import cached_property

from pydantic import RootModel

from api_schemas.report import AuditReport
from editor.jobs.context import JobContext
from editor.jobs.model import Model, open_model
from editor.jobs.phase_store import PhaseStore
from editor.publishing.export import read_report
from editor.publishing.filenames import REPORT

Salt = RootModel[str]


@dataclass(frozen=True)
class Job:
    """A job: its context, its base model, and the stored results of its phases."""

    context: JobContext

    @cached_property
    def phases(self) -> PhaseStore:
        """The results of finished phases."""
        return PhaseStore(self.context.workdir / "phases")

    @cached_property
    def model(self) -> Model:
        """The base model."""
        context = self.context
        device = str(context.device.resolve().torch_device)
        return open_model(context.model_dir, context.digest_folder, context.profile, device)

    @property
    def salt(self) -> str:
        """256 random bits, hexadecimal, which hide the names that the job withholds. The same in every attempt."""
        return self.phases.run("salt", Salt, lambda: Salt(secrets.token_hex(32))).root

    def is_finished(self, phase: str) -> bool:
        """Whether the result of a phase is stored. The publish phase's result is the report in the bundle."""
        return (self.context.out / REPORT if phase == "publish" else self.phases.path(phase)).is_file()

    def published_report(self) -> AuditReport:
        """Return the report of the bundle."""
        return read_report(self.context.out)
