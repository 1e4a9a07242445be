"""Settings of the worker, in addition to those of the store."""

import os
import re
import socket
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from api_schemas.jobs import JobKind
from service.store.celery_config import EDIT_QUEUE, PLAN_QUEUE
from service.store.setting_types import Form
from service.store.settings import StoreSettings

WORKER_NAME = re.compile(r"[A-Za-z0-9._:-]{0,100}")


def _validate_module(name: str) -> str:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ValueError("not a module name")
    return name


def _validate_queues(text: str) -> str:
    if not set(text.split(",")) <= {EDIT_QUEUE, PLAN_QUEUE}:
        raise ValueError("unknown queue")
    return text


def _validate_worker_name(name: str) -> str:
    if not WORKER_NAME.fullmatch(name):
        raise ValueError("not a worker name")
    return name


ModuleName = Annotated[str, AfterValidator(_validate_module), Form("the name of a Python module", "editor.jobs")]
Queues = Annotated[str, AfterValidator(_validate_queues), Form("edits, plans, or both separated by a comma", "edits")]
WorkerName = Annotated[
    str,
    AfterValidator(_validate_worker_name),
    Form("up to 100 letters, digits, dots, colons, hyphens and underscores", "gpu-1"),
]


class WorkerSettings(StoreSettings):
    """Worker settings, read from `EXPUNGE_*` variables."""

    editor: ModuleName = Field(default="editor.jobs", description="Module that performs removals.")
    revoker: ModuleName = Field(default="editor.jobs.revocation", description="Module that performs revocations.")
    planner: ModuleName = Field(default="editor.jobs.dry_run", description="Module that performs dry runs.")
    calibrator: ModuleName = Field(
        default="editor.jobs.calibration_job", description="Module that performs calibrations of base models."
    )
    previewer: ModuleName = Field(default="editor.jobs.preview", description="Module that generates previews of edits.")
    carrier: ModuleName = Field(
        default="editor.jobs.carry",
        description="Module that carries the edits of a fleet over to models with equal encoders.",
    )
    registrar: ModuleName = Field(
        default="editor.jobs.registration", description="Module that reads base models for their registration."
    )
    queues: Queues = Field(
        default="plans,edits",
        description="Queues that the worker consumes, separated by commas: edits, plans (dry runs and previews).",
    )
    worker_name: WorkerName = Field(
        default="", description="Name of the worker, unique among running workers. Empty: host name and process id."
    )
    lease_seconds: float = Field(
        default=30.0, gt=0, le=3600, description="A worker that sends no heartbeat for this long loses its job."
    )
    heartbeat_seconds: Annotated[float, Form("a number > 0 and below EXPUNGE_LEASE_SECONDS", "5")] = Field(
        default=5.0, gt=0, description="Interval at which a worker extends its lease."
    )
    cancel_grace_seconds: float = Field(
        default=5.0,
        ge=0,
        description="A job that has not stopped this long after its worker learned of its cancellation is killed.",
    )
    progress_seconds: float = Field(default=0.5, ge=0, description="Minimum interval between progress events.")
    jobs_per_process: int = Field(
        default=8,
        ge=1,
        description="Number of jobs after which a worker process is replaced, which frees memory that GPU libraries keep.",
    )
    retry_seconds: float = Field(
        default=5.0, ge=0, description="Delay before a crashed job is tried again; doubles with each attempt."
    )

    @field_validator("heartbeat_seconds")
    @classmethod
    def _is_below_lease(cls, seconds: float, info: ValidationInfo) -> float:
        """A worker whose heartbeat is slower than its lease would lose every job."""
        if seconds >= info.data.get("lease_seconds", float("inf")):
            raise ValueError("not below the lease")
        return seconds

    def module(self, kind: JobKind) -> str:
        """Return the job module of a kind of job on a request for an edit."""
        return {"removal": self.editor, "revocation": self.revoker, "plan": self.planner}[kind]

    @property
    def lease(self) -> timedelta:
        """How long a claim is valid without a heartbeat."""
        return timedelta(seconds=self.lease_seconds)

    @property
    def owner(self) -> str:
        """The name that leases are held under. The pool has one process, so the parent's process id identifies it."""
        return self._owner(os.getppid())

    @property
    def main_owner(self) -> str:
        """The same name, in the parent itself."""
        return self._owner(os.getpid())

    def _owner(self, main_process: int) -> str:
        return self.worker_name or f"{socket.gethostname()}:{main_process}"

    @property
    def cache_dir(self) -> Path:
        """Folder of data that jobs share, such as images of base models."""
        return self.data_dir / "cache"

    def workdir(self, job_id: str) -> Path:
        """Return the folder of a job's phase results, from which the next attempt resumes."""
        return self.data_dir / "work" / job_id
