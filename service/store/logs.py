"""Logging with structlog on top of the standard library: a line of text or a JSON object per event.

Events carry the id of the request or job, and the fields that are passed as `extra`. Exception messages may contain concepts,
which are personal data, so they are dropped unless the setting `log_concepts` is on; the traceback's locations are kept.
"""

import io
import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars, clear_contextvars, merge_contextvars
from structlog.typing import EventDict, Processor

from service.store.settings import StoreSettings

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

__all__ = [
    "bind_contextvars",
    "bound_contextvars",
    "clear_contextvars",
    "configure",
    "configure_process",
    "to_json_line",
]


def configure_process(settings: StoreSettings) -> None:
    """Configure the logging of a whole process: also warnings, its last exception and, as JSON, what libraries print."""
    configure(settings)
    logging.captureWarnings(True)
    sys.excepthook = _log_crash
    if settings.log_format == "json":
        sys.stdout = sys.stderr = PrintedLines(sys.stderr)


def configure(settings: StoreSettings) -> None:
    """Send all log records of this process to standard error in the configured format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                merge_contextvars,
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *([] if settings.log_concepts else [_drop_exception_messages]),
                *_renderers(settings.log_format),
            ],
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for noisy in ("httpx", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class PrintedLines(io.TextIOBase):
    """A text stream that logs each line that is written to it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._line = ""

    def write(self, text: str) -> int:
        """Log the lines that are complete. Progress bars end theirs with a carriage return."""
        *lines, self._line = re.split(r"[\r\n]", self._line + text)
        for line in lines:
            if line.strip():
                logging.getLogger("printed").info("%s", line.rstrip())
        return len(text)

    def fileno(self) -> int:
        """Return the descriptor of the stream itself, for child processes."""
        return self._stream.fileno()


def to_json_line(line: str, logger: str) -> str:
    """Return a line of another program as a JSON object like those of our own log; JSON objects are returned unchanged."""
    try:
        if isinstance(json.loads(line), dict):
            return line
    except ValueError:
        pass
    return json.dumps(
        {
            "event": line,
            "level": "info",
            "logger": logger,
            "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        }
    )


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log the exception that ends the process, as one event and without its message."""
    logging.getLogger("crash").critical("the process crashed", exc_info=(kind, error, trace))


def _renderers(name: str) -> list[Processor]:
    if name == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=True)]
    return [
        _escape_control_characters,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]


def _escape_control_characters(logger: Any, name: str, event: EventDict) -> EventDict:
    """Escape control characters: an encoded line break in a path or an address could forge a log line."""
    for name in event.keys() - {"exception", "exc_info"}:
        event[name] = _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", str(event[name]))
    return event


def _drop_exception_messages(logger: Any, name: str, event: EventDict) -> EventDict:
    """Replace the exception by its type and the locations of its traceback."""
    if exc_info := event.pop("exc_info", None):
        kind, _, trace = sys.exc_info() if exc_info is True else exc_info
        frames = "".join(traceback.format_list(traceback.extract_tb(trace)))
        event["exception"] = f"{frames}{getattr(kind, '__name__', kind)}"
    return event
