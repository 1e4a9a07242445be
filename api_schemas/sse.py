"""Parser of server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class StreamMessage:
    """A message of a stream."""

    event: str
    data: str
    id: str


@dataclass
class EventStreamParser:
    """Incremental parser: takes lines without their ends and returns each message with the line that completes it."""

    _event: str = "message"
    _data: list[str] = field(default_factory=list)
    _last_id: str = ""

    def feed(self, line: str) -> StreamMessage | None:
        """Parse a line. Comments and unknown fields are skipped."""
        if not line:
            return self._end()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id":
            self._last_id = value
        return None

    def _end(self) -> StreamMessage | None:
        message = StreamMessage(self._event, "\n".join(self._data), self._last_id) if self._data else None
        self._event, self._data = "message", []
        return message
