"""The errors that end a job, as its owner sees them, and the log of crashes."""

import logging
import traceback

from api_schemas.jobs import JobError
from editor.errors import EditorError
from service.store.claims import Claim
from service.store.errors import StoreError

log = logging.getLogger(__name__)


def log_crash(claim: Claim, error: Exception) -> None:
    """Log the traceback. Without the error's message if names are withheld: it may quote a prompt."""
    if claim.withholds_names:
        frames = "".join(traceback.format_tb(error.__traceback__))
        log.error("%s: attempt %d crashed with %s\n%s", claim.job_id, claim.attempt, type(error).__name__, frames)
    else:
        log.exception("%s: attempt %d crashed", claim.job_id, claim.attempt)


def refused_error(error: EditorError | StoreError, phase: str | None) -> JobError:
    """Return the error of a request that the editor or the store rejected. Retrying would not help."""
    return JobError(code=error.code, message=f"{error.message} {error.remedy}".strip(), param=error.field, phase=phase)


def time_limit_error(limit: int, phase: str | None) -> JobError:
    """Return the error of a job that ran longer than `limit` seconds."""
    message = f"the job ran longer than {limit} s; request fewer seeds, steps or prompts"
    return JobError(code="time_limit_exceeded", message=message, phase=phase)


def crash_error(error: Exception, phase: str | None) -> JobError:
    """Return the error of an internal failure: its type only, the details are in the worker's log."""
    message = f"every attempt crashed, the last with {type(error).__name__}; see the worker's log for the traceback"
    return JobError(code="internal_error", message=message, phase=phase, retryable=True)
