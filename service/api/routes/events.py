"""The events of an edit, as pages and as a stream."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from starlette.responses import StreamingResponse

from api_schemas.events import Event
from api_schemas.jobs import Page
from service.api.auth import ReadsEdits
from service.api.dependencies import AppStateDep, BatchedCallsDep
from service.api.event_stream import STREAM_CONTENT, StreamCursor, stream_events
from service.api.routes.edits import EditId, job_or_404
from service.core import serializers
from service.store import events, jobs
from service.store.orm import MAX_INTEGER

router = APIRouter(prefix="/v1/edits/{edit_id}", tags=["edits"])

After = Annotated[int, Query(ge=0, le=MAX_INTEGER, description="Return events after this `seq`.")]
LastEventId = Annotated[int | None, Header(ge=0, le=MAX_INTEGER, description="The `seq` of the last message received.")]


@router.get("/events", summary="List the events of an edit")
def list_events(
    edit_id: EditId,
    app_state: AppStateDep,
    caller: ReadsEdits,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="Items per page.")] = 100,
) -> Page[Event]:
    """Return a page of events, oldest first."""
    with app_state.database.read() as session:
        job_or_404(jobs.get_edit(session, caller.tenant, edit_id), edit_id)
        rows = events.after(session, edit_id, after, limit + 1)
    return serializers.page([serializers.event(row) for row in rows], limit, lambda event: event.seq)


@router.get(
    "/stream",
    summary="Stream the events of an edit",
    response_class=StreamingResponse,
    responses={
        200: {"content": STREAM_CONTENT},
        204: {"description": "The stream is complete and all its events were received."},
    },
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
    start = after if last_event_id is None else last_event_id
    cursor = StreamCursor(caller.tenant, edit_id, start)
    first = await batched_calls.poll_events(cursor)
    if first.complete and not first.events and start:
        return Response(status_code=204)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        stream_events(app_state, batched_calls.poll_events, cursor, first),
        media_type="text/event-stream",
        headers=headers,
    )
