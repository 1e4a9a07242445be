"""Settings of the worker, on top of those of the store."""

import os
import socket
from datetime import timedelta
from pathlib import Path

from pydantic import Field

from api_schemas.jobs import JobKind
from service.store.settings import StoreSettings


class WorkerSettings(StoreSettings):
    """Read from `EXPUNGE_*` variables."""

    editor: str = Field(default="editor.jobs", description="The module that does the science.")
    revoker: str = Field(default="editor.jobs.revocation", description="The module that takes removals back.")
    planner: str = Field(default="editor.jobs.dry_run", description="The module that makes dry runs.")
    queues: str = Field(
        default="plans,edits",
        description="Whose messages a worker answers, separated by commas: edits, plans (dry runs).",
    )
    worker_name: str = Field(default="", description="Unique among live workers. Empty: host and process id.")
    lease_seconds: float = Field(default=30.0, gt=0, le=3600, description="A silent worker loses its job after this.")
    heartbeat_seconds: float = Field(default=5.0, gt=0, description="How often a worker extends its lease.")
    cancel_grace_seconds: float = Field(
        default=20.0, ge=0, description="A canceled job that does not stop by then is killed."
    )
    progress_seconds: float = Field(default=0.5, ge=0, description="Progress is written at most this often.")
    jobs_per_process: int = Field(
        default=8, ge=1, description="Then a worker's process is replaced: what a GPU library has kept goes with it."
    )
    retry_seconds: float = Field(default=5.0, ge=0, description="Pause before a job that crashed is tried again.")

    def module(self, kind: JobKind) -> str:
        """The module whose phases a job of some kind has."""
        return {"removal": self.editor, "revocation": self.revoker, "plan": self.planner}[kind]

    @property
    def lease(self) -> timedelta:
        """How long a claim lasts without a heartbeat."""
        return timedelta(seconds=self.lease_seconds)

    @property
    def owner(self) -> str:
        """Who holds our leases. The pool has one slot, so its parent process names us."""
        return self.worker_name or f"{socket.gethostname()}:{os.getppid()}"

    @property
    def cache_dir(self) -> Path:
        """What jobs share: images of base models."""
        return self.data_dir / "cache"

    def workdir(self, job_id: str) -> Path:
        """Where a job's phases leave their results, for the next attempt to go on from."""
        return self.data_dir / "work" / job_id
