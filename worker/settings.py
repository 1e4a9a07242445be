"""Settings of the worker, in addition to those of the store."""

import os
import socket
from datetime import timedelta
from pathlib import Path

from pydantic import Field

from api_schemas.jobs import JobKind
from service.store.settings import StoreSettings


class WorkerSettings(StoreSettings):
    """Worker settings, read from `EXPUNGE_*` variables."""

    editor: str = Field(default="editor.jobs", description="Module that performs removals.")
    revoker: str = Field(default="editor.jobs.revocation", description="Module that performs revocations.")
    planner: str = Field(default="editor.jobs.dry_run", description="Module that performs dry runs.")
    queues: str = Field(
        default="plans,edits",
        description="Queues that the worker consumes, separated by commas: edits, plans (dry runs).",
    )
    worker_name: str = Field(
        default="", description="Name of the worker, unique among running workers. Empty: host name and process id."
    )
    lease_seconds: float = Field(
        default=30.0, gt=0, le=3600, description="A worker that sends no heartbeat for this long loses its job."
    )
    heartbeat_seconds: float = Field(default=5.0, gt=0, description="Interval at which a worker extends its lease.")
    cancel_grace_seconds: float = Field(
        default=20.0, ge=0, description="A job that has not stopped this long after its cancellation is killed."
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

    def module(self, kind: JobKind) -> str:
        """Return the job module of a kind of job."""
        return {"removal": self.editor, "revocation": self.revoker, "plan": self.planner}[kind]

    @property
    def lease(self) -> timedelta:
        """How long a claim is valid without a heartbeat."""
        return timedelta(seconds=self.lease_seconds)

    @property
    def owner(self) -> str:
        """The name that leases are held under. The pool has one process, so the parent's process id identifies it."""
        return self.worker_name or f"{socket.gethostname()}:{os.getppid()}"

    @property
    def cache_dir(self) -> Path:
        """Folder of data that jobs share, such as images of base models."""
        return self.data_dir / "cache"

    def workdir(self, job_id: str) -> Path:
        """Return the folder of a job's phase results, from which the next attempt resumes."""
        return self.data_dir / "work" / job_id
