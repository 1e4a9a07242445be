"""What happened to a job, in order. Durable: a reader that was away misses nothing."""

from datetime import datetime
from typing import Any, Literal, TypeAlias

from pydantic import Field

from api_schemas.base import Resource

EventType: TypeAlias = Literal["status", "phase", "progress"]
Level: TypeAlias = Literal["info", "warn", "error"]

STREAM_END = "done"
"""Name of the stream's last message: nothing is left to reconnect for. It is no event of the history."""


class Event(Resource):
    """One line of a job's history."""

    object: Literal["event"] = "event"
    seq: int = Field(ge=1, description="1, 2, 3 … without gaps within a job; the SSE id.")
    created_at: datetime
    level: Level = "info"
    type: EventType
    message: str = ""
    data: dict[str, Any] = Field(default_factory=dict)
