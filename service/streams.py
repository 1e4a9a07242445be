"""Following a job: the events table, read again and again. Any process that writes there is heard."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, get_args

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.concurrency import run_in_threadpool

from api_schemas.events import DONE, Event, EventType
from api_schemas.jobs import TERMINAL
from service import resources
from service.backend import Backend
from service.examples import EVENT
from service.store import history, jobs
from service.together import no_edit

BATCH = 200
KEEPALIVE_SECONDS = 15.0
RETRY_MILLISECONDS = 3000
_LAST = format_sse_event(event=DONE, data_str="{}")


@dataclass(frozen=True)
class News:
    """What one look found. `over`: nothing will follow."""

    events: list[Event]
    over: bool


class Tail:
    """A reader of one job's events, that remembers how far it is."""

    def __init__(self, backend: Backend, tenant: str, edit_id: str, after: int) -> None:
        self.backend = backend
        self._tenant = tenant
        self._edit_id = edit_id
        self._after = after

    def next(self) -> News:
        """The events since the last call. Raises `NotFound`.

        The status is read before the events: a job that was over then has written its last one.
        """
        with self.backend.database.read() as session:
            job = jobs.edit_of(session, self._tenant, self._edit_id)
            if job is None:
                raise no_edit(self._edit_id)
            rows = history.after(session, self._edit_id, self._after, BATCH)
            over = job.status in TERMINAL and len(rows) < BATCH
        events = [resources.event(row) for row in rows]
        self._after = events[-1].seq if events else self._after
        return News(events, over)


async def tail(source: Tail, news: News) -> AsyncIterator[bytes]:
    """Messages, from `news` on, until the job is over, the connection is old, or the service stops."""
    settings = source.backend.settings
    end = time.monotonic() + settings.stream_limit_seconds
    quiet_since = time.monotonic()
    yield format_sse_event(retry=RETRY_MILLISECONDS)
    while True:
        for event in news.events:
            yield _message(event)
        if news.over:
            yield _LAST
            return
        if time.monotonic() > end or source.backend.closing.is_set():
            return
        if news.events:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since > KEEPALIVE_SECONDS:
            yield KEEPALIVE_COMMENT
            quiet_since = time.monotonic()
        await asyncio.sleep(settings.stream_poll_seconds)
        news = await run_in_threadpool(source.next)


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
