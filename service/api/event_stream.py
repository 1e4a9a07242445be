"""Following a job: the events table, read again and again. Any process that writes there is heard."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from sqlalchemy.orm import Session

from api_schemas.events import DONE, Event, EventType
from api_schemas.jobs import TERMINAL
from service.api.openapi_examples import EVENT
from service.core import serializers
from service.core.app_state import Backend
from service.core.batcher import Gathering
from service.errors import NotFound, no_edit
from service.store import events as history
from service.store.events import EventHead

BATCH = 200
KEEPALIVE_SECONDS = 15.0
RETRY_MILLISECONDS = 3000
_LAST = format_sse_event(event=DONE, data_str="{}")


@dataclass(frozen=True)
class News:
    """What one look found. `over`: nothing will follow."""

    events: list[Event]
    over: bool


@dataclass(frozen=True)
class Seat:
    """Whose edit is followed, and how far its reader is."""

    tenant: str
    edit_id: str
    after: int

    def later(self, news: News) -> "Seat":
        """When that has been read."""
        return replace(self, after=news.events[-1].seq) if news.events else self


def look_on(backend: Backend, seats: Sequence[Seat]) -> list[News | Exception]:
    """What is new for each. Most looks find nothing, and all of those cost one statement together.

    Outcomes that are raised: `NotFound`.
    """
    with backend.database.read() as session:
        standings = history.event_heads(session, {seat.edit_id for seat in seats})
        return [_news(session, seat, standings.get((seat.tenant, seat.edit_id))) for seat in seats]


def _news(session: Session, seat: Seat, standing: EventHead | None) -> News | NotFound:
    if standing is None:
        return no_edit(seat.edit_id)
    rows = history.after(session, seat.edit_id, seat.after, BATCH) if standing.last_seq > seat.after else []
    return News([serializers.event(row) for row in rows], standing.status in TERMINAL and len(rows) < BATCH)


async def tail(backend: Backend, follow: Gathering[Seat, News], seat: Seat, news: News) -> AsyncIterator[bytes]:
    """Messages, from `news` on, until the job is over, the connection is old, or the service stops."""
    settings = backend.settings
    end = time.monotonic() + settings.stream_limit_seconds
    quiet_since = time.monotonic()
    yield format_sse_event(retry=RETRY_MILLISECONDS)
    while True:
        for event in news.events:
            yield _message(event)
        if news.over:
            yield _LAST
            return
        if time.monotonic() > end or backend.closing.is_set():
            return
        if news.events:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since > KEEPALIVE_SECONDS:
            yield KEEPALIVE_COMMENT
            quiet_since = time.monotonic()
        seat = seat.later(news)
        await asyncio.sleep(settings.stream_poll_seconds)
        news = await follow(seat)


def _message(event: Event) -> bytes:
    return format_sse_event(event=event.type, data_str=event.model_dump_json(), id=str(event.seq))


_DATA = {
    "type": "string",
    "contentMediaType": "application/json",
    "contentSchema": {"$ref": "#/components/schemas/Event"},
}

MESSAGES: dict[str, Any] = {
    "text/event-stream": {
        "itemSchema": {
            "oneOf": [
                {
                    "type": "object",
                    "description": "An event of the history.",
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
                    "properties": {"event": {"const": DONE}, "data": {"const": "{}"}},
                },
            ]
        },
        "example": (_message(EVENT) + _LAST).decode(),
    }
}
"""What is sent, as the contract describes it."""
