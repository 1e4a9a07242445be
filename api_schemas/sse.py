"""Server-sent events, the reading half: https://html.spec.whatwg.org/multipage/server-sent-events.html"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One message of a stream."""

    event: str
    data: str
    id: str


def messages(lines: Iterable[str]) -> Iterator[Message]:
    """Lines, without their ends -> messages. Comments (pings) and unknown fields are skipped."""
    event, data, last_id = "message", list[str](), ""
    for line in lines:
        if not line:
            if data:
                yield Message(event, "\n".join(data), last_id)
            event, data = "message", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event = value
        elif name == "data":
            data.append(value)
        elif name == "id":
            last_id = value
