"""Why a run stops before its end. Part of the tree in `api_schemas.errors`."""

from api_schemas.errors import ExpungeError


class WorkerError(ExpungeError):
    """Root of the worker's errors."""

    code = "worker_error"


class JobInterrupted(WorkerError):
    """Stop now. Raised out of the progress callback, through the editor."""


class LeaseLost(JobInterrupted):
    """Somebody else has the job: whatever we made is discarded."""

    code = "lease_lost"


class JobCanceled(JobInterrupted):
    """The client asked for it."""

    code = "canceled"
