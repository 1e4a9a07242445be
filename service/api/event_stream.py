"""Server-sent events of a job, polled from the events table, so that events of any process are delivered."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from sqlalchemy.orm import Session
from starlette.responses import Response, StreamingResponse

from api_schemas.events import STREAM_END, Event, EventType
from api_schemas.jobs import TERMINAL_STATUSES
from service.api.openapi_examples import EVENT
from service.core import serializers
from service.core.app_state import AppState
from service.core.batcher import Batcher
from service.errors import NotFound, edit_not_found
from service.store import events as history
from service.store.events import EventHead

EVENTS_PER_POLL = 200
KEEPALIVE_SECONDS = 15.0
RETRY_MILLISECONDS = 3000
DONE_MESSAGE = format_sse_event(event=STREAM_END, data_str="{}")


@dataclass(frozen=True)
class EventBatch:
    """New events of an edit. `complete`: no events will follow."""

    events: list[Event]
    complete: bool


@dataclass(frozen=True)
class StreamCursor:
    """The edit that a client follows, and the last event that it has."""

    tenant: str
    edit_id: str
    after: int

    def advance(self, batch: EventBatch) -> "StreamCursor":
        """Return the cursor after the batch."""
        return replace(self, after=batch.events[-1].seq) if batch.events else self


def poll_events(app_state: AppState, cursors: Sequence[StreamCursor]) -> list[EventBatch | Exception]:
    """Return the new events for each cursor, or `NotFound`. Cursors without new events cost one statement in total."""
    with app_state.database.read() as session:
        standings = history.event_heads(session, {cursor.edit_id for cursor in cursors})
        return [_read_batch(session, cursor, standings.get((cursor.tenant, cursor.edit_id))) for cursor in cursors]


def _read_batch(session: Session, cursor: StreamCursor, standing: EventHead | None) -> EventBatch | NotFound:
    if standing is None:
        return edit_not_found(cursor.edit_id)
    rows = (
        history.after(session, cursor.edit_id, cursor.after, EVENTS_PER_POLL)
        if standing.last_seq > cursor.after
        else []
    )
    return EventBatch(
        [serializers.event(row) for row in rows], standing.status in TERMINAL_STATUSES and len(rows) < EVENTS_PER_POLL
    )


def encode_events(batch: EventBatch) -> Iterator[bytes]:
    """Yield a message for each event, and the last message if the batch completes the stream."""
    yield from (_message(event) for event in batch.events)
    if batch.complete:
        yield DONE_MESSAGE


async def stream_response(
    app_state: AppState,
    follow: Batcher[StreamCursor, EventBatch],
    cursor: StreamCursor,
    encode: Callable[[EventBatch], Iterable[bytes]] = encode_events,
) -> Response:
    """Return the stream of a job's events after the cursor, or 204 if the client has all of them. Raises `NotFound`."""
    first = await follow(cursor)
    if first.complete and not first.events and cursor.after:
        return Response(status_code=204)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    messages = stream_events(app_state, follow, cursor, first, encode)
    return StreamingResponse(messages, media_type="text/event-stream", headers=headers)


async def stream_events(
    app_state: AppState,
    follow: Batcher[StreamCursor, EventBatch],
    cursor: StreamCursor,
    batch: EventBatch,
    encode: Callable[[EventBatch], Iterable[bytes]] = encode_events,
) -> AsyncIterator[bytes]:
    """Yield messages, beginning with `batch`, until the job ends, the stream reaches its time limit or the service stops."""
    settings = app_state.settings
    end = time.monotonic() + settings.stream_limit_seconds
    quiet_since = time.monotonic()
    yield format_sse_event(retry=RETRY_MILLISECONDS)
    while True:
        for message in encode(batch):
            yield message
        if batch.complete:
            return
        if time.monotonic() > end or app_state.shutting_down.is_set():
            return
        if batch.events:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since > KEEPALIVE_SECONDS:
            yield KEEPALIVE_COMMENT
            quiet_since = time.monotonic()
        cursor = cursor.advance(batch)
        await asyncio.sleep(settings.stream_poll_seconds)
        batch = await follow(cursor)


def _message(event: Event) -> bytes:
    return format_sse_event(event=event.type, data_str=event.model_dump_json(), id=str(event.seq))


_DATA = {
    "type": "string",
    "contentMediaType": "application/json",
    "contentSchema": {"$ref": "#/components/schemas/Event"},
}

STREAM_CONTENT: dict[str, Any] = {
    "text/event-stream": {
        "itemSchema": {
            "oneOf": [
                {
                    "type": "object",
                    "description": "An event of the job.",
                    "required": ["id", "event", "data"],
                    "properties": {
                        "id": {"type": "string", "pattern": "^[1-9][0-9]*$"},
                        "event": {"enum": list(get_args(EventType))},
                        "data": _DATA,
                    },
                },
                {
                    "type": "object",
                    "description": "The last message.",
                    "required": ["event", "data"],
                    "properties": {"event": {"const": STREAM_END}, "data": {"const": "{}"}},
                },
            ]
        },
        "example": (_message(EVENT) + DONE_MESSAGE).decode(),
    }
}
"""The messages of a stream, for the OpenAPI document."""
STREAM_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": STREAM_CONTENT},
    204: {"description": "The stream is complete and all its events were received."},
}
"""The responses of a stream, for the OpenAPI document."""
