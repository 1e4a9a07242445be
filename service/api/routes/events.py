"""The events of an edit, as pages and as a stream."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from starlette.responses import StreamingResponse

from api_schemas.events import Event
from api_schemas.jobs import Page
from service.api.auth import ReadsEdits
from service.api.dependencies import AppStateDep, BatchedCallsDep
from service.api.event_stream import STREAM_RESPONSES, StreamCursor, stream_response
from service.api.paging import LongPageLimit
from service.api.routes.edits import EditId, load_edit
from service.core import serializers
from service.core.app_state import AppState
from service.errors import edit_not_found
from service.store import events
from service.store.ids import is_edit
from service.store.orm import MAX_INTEGER, Job

router = APIRouter(prefix="/v1/edits/{edit_id}", tags=["edits"])

After = Annotated[int, Query(ge=0, le=MAX_INTEGER, description="Return events after this `seq`.")]
LastEventId = Annotated[int | None, Header(ge=0, le=MAX_INTEGER, description="The `seq` of the last message received.")]


@router.get("/events", summary="List the events of an edit")
def list_events(
    edit_id: EditId,
    app_state: AppStateDep,
    caller: ReadsEdits,
    after: After = 0,
    limit: LongPageLimit = 100,
) -> Page[Event]:
    """Return a page of events, oldest first."""
    job = load_edit(app_state, caller, edit_id)
    return events_page(app_state, job, after, limit)


def events_page(app_state: AppState, job: Job, after: int, limit: int) -> Page[Event]:
    """Return a page of the events of a job of any kind, oldest first."""
    with app_state.database.read() as session:
        rows = events.after(session, job.id, after, limit + 1)
    return serializers.page([serializers.event(row) for row in rows], limit, lambda event: event.seq)


@router.get(
    "/stream",
    summary="Stream the events of an edit",
    response_class=StreamingResponse,
    responses=STREAM_RESPONSES,
)
async def stream(
    edit_id: EditId,
    app_state: AppStateDep,
    batched_calls: BatchedCallsDep,
    caller: ReadsEdits,
    after: After = 0,
    last_event_id: LastEventId = None,
) -> Response:
    """Send server-sent events whose ids are `seq`. Reconnect with `Last-Event-ID` to continue without gaps.

    The last message is `done`. A reconnect after it gets 204, at which browsers stop.
    """
    if not is_edit(edit_id):
        raise edit_not_found(edit_id)
    start = after if last_event_id is None else last_event_id
    return await stream_response(app_state, batched_calls.poll_events, StreamCursor(caller.tenant, edit_id, start))
