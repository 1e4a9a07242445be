"""Accept requests to calibrate a base model."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from api_schemas.calibrations import CalibrationTask
from service.core import serializers
from service.core.app_state import AppState
from service.core.edits import Acceptance, PendingJob
from service.core.quotas import JobQuota
from service.store.audit import AuditEntry
from service.store.jobs import NewJob
from service.store.orm import Job


@dataclass(frozen=True, eq=False)
class PendingCalibration(PendingJob):
    """A POST that calibrates a base model."""

    task: CalibrationTask

    @property
    def fingerprint(self) -> str:
        """The digest of the request."""
        return self.task.digest()

    def validate(self, app_state: AppState) -> None:
        """Raise `UnknownModel`, `ModelNotAdmitted`."""
        app_state.registry.get_admitted(self.task.model)

    def admit(self, session: Session, quota: JobQuota) -> NewJob:
        """Raise `TooManyJobs`."""
        quota.reserve(self.caller.tenant)
        return NewJob(self.task, self.caller.key_id, self.caller.tenant, "calibration")

    def complete(self, session: Session, job: Job, now: datetime) -> Acceptance:
        """Reply with the calibration."""
        details = {"model": job.model, "request": job.request_digest}
        entry = AuditEntry(job.tenant, job.api_key_id, "calibration.create", job.id, details)
        return Acceptance(serializers.calibration(job).model_dump_json(), [entry])
