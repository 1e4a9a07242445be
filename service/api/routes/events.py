"""A job's events: as pages, and as a stream."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from starlette.responses import StreamingResponse

from api_schemas.events import Event
from api_schemas.jobs import Page
from service.api.auth import ReadsEdits
from service.api.event_stream import MESSAGES, Seat, tail
from service.api.request_batching import TogetherDep
from service.api.routes.edits import EditId, found
from service.core import serializers
from service.core.app_state import BackendDep
from service.store import events, jobs
from service.store.orm import HIGHEST

router = APIRouter(prefix="/v1/edits/{edit_id}", tags=["edits"])

After = Annotated[int, Query(ge=0, le=HIGHEST, description="The last `seq` that you have.")]
LastEventId = Annotated[int | None, Header(ge=0, le=HIGHEST, description="The `seq` of the last message that came.")]


@router.get("/events", summary="What happened so far")
def list_events(
    edit_id: EditId,
    backend: BackendDep,
    caller: ReadsEdits,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Page[Event]:
    """One page, oldest first."""
    with backend.database.read() as session:
        found(jobs.edit_of(session, caller.tenant, edit_id), edit_id)
        rows = events.after(session, edit_id, after, limit + 1)
    return serializers.page([serializers.event(row) for row in rows], limit, lambda event: event.seq)


@router.get(
    "/stream",
    summary="What happens, as it happens",
    response_class=StreamingResponse,
    responses={200: {"content": MESSAGES}, 204: {"description": "You have all of it, and nothing will follow."}},
)
async def stream(
    edit_id: EditId,
    backend: BackendDep,
    together: TogetherDep,
    caller: ReadsEdits,
    after: After = 0,
    last_event_id: LastEventId = None,
) -> Response:
    """Server-sent events whose ids are `seq`: reconnect with `Last-Event-ID` and nothing is missed.

    The last message is `done`; a reconnect after that is answered 204, at which browsers stop.
    """
    start = after if last_event_id is None else last_event_id
    seat = Seat(caller.tenant, edit_id, start)
    first = await together.follow(seat)
    if first.over and not first.events and start:
        return Response(status_code=204)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        tail(backend, together.follow, seat, first), media_type="text/event-stream", headers=headers
    )
