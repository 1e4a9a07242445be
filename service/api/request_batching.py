"""Request coalescing: concurrent POST, GET and event-stream calls are grouped into one database transaction each."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from service.api.event_stream import EventBatch, StreamCursor, poll_events
from service.core import edits
from service.core.app_state import AppState
from service.core.batcher import Batcher
from service.core.edits import PendingEdit, Submission
from service.errors import edit_not_found
from service.store import jobs
from service.store.orm import Job


@dataclass(frozen=True)
class EditKey:
    """The tenant and the id of an edit."""

    tenant: str
    edit_id: str


@dataclass(frozen=True)
class BatchedCalls:
    """The batched calls of one application."""

    submit_edit: Batcher[PendingEdit, Submission]
    get_job: Batcher[EditKey, Job]
    poll_events: Batcher[StreamCursor, EventBatch]

    @classmethod
    def from_app_state(cls, app_state: AppState) -> "BatchedCalls":
        """Create the batchers of an application."""
        return cls(
            Batcher(partial(edits.submit_all, app_state)),
            Batcher(partial(get_jobs, app_state)),
            Batcher(partial(poll_events, app_state)),
        )


def get_jobs(app_state: AppState, keys: Sequence[EditKey]) -> list[Job | Exception]:
    """Load the jobs in one transaction; an edit that does not exist gives `NotFound`."""
    with app_state.database.read() as session:
        rows = {(job.tenant, job.id): job for job in jobs.get_edits(session, {key.edit_id for key in keys})}
    return [rows.get((key.tenant, key.edit_id)) or edit_not_found(key.edit_id) for key in keys]
