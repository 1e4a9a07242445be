"""Reasons to interrupt a job. Part of the tree in `api_schemas.errors`."""

from api_schemas.errors import ExpungeError


class WorkerError(ExpungeError):
    """Base class of the worker's errors."""

    code = "worker_error"


class JobInterrupted(WorkerError):
    """The job must stop. Raised from the progress callback, through the editor."""


class LeaseLost(JobInterrupted):
    """Another worker has claimed the job; this attempt's results are discarded."""

    code = "lease_lost"


class WorkerStopped(JobInterrupted):
    """The process was asked to stop; the job is queued again."""

    code = "worker_stopped"


class JobCanceled(JobInterrupted):
    """The client canceled the job."""

    code = "canceled"
