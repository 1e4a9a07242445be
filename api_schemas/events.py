"""Events of a job, in order. They are durable, so a client that was disconnected misses none."""

from datetime import datetime
from typing import Any, Literal, TypeAlias

from pydantic import Field

from api_schemas.base import Resource

EventType: TypeAlias = Literal["status", "phase", "progress"]
Level: TypeAlias = Literal["info", "warn", "error"]

STREAM_END = "done"
"""Name of the stream's last message: there is nothing left to reconnect for. It is not an event of the job."""


class Event(Resource):
    """An event of a job."""

    object: Literal["event"] = "event"
    seq: int = Field(ge=1, description="1, 2, 3 … without gaps within a job; the SSE id.")
    created_at: datetime
    level: Level = "info"
    type: EventType
    message: str = ""
    data: dict[str, Any] = Field(
        default_factory=dict,
        description="Of status events `status`; of others `phase` and `progress`, the completed fraction of the job. One, "
        "before a calibration or a validation generates images, has their `estimate`: `images`, `seconds`, `memory`. "
        "Those that announce new sample images of a validation have `samples`, their number. More fields may be added.",
    )
