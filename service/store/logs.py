"""Logging with structlog on top of the standard library: a line of text or a JSON object per event.

Events carry the id of the request or job. Exception messages may contain concepts, which are personal data, so they are
dropped unless the setting `log_concepts` is on; the traceback's locations are kept.
"""

import logging
import re
import sys
import traceback
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars, clear_contextvars, merge_contextvars
from structlog.typing import EventDict, Processor

from service.store.settings import StoreSettings

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

__all__ = ["bind_contextvars", "bound_contextvars", "clear_contextvars", "configure"]


def configure(settings: StoreSettings) -> None:
    """Send all log records of this process to standard error in the configured format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                merge_contextvars,
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
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


def _renderers(name: str) -> list[Processor]:
    if name == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=True)]
    return [
        _escape_control_characters,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]


def _escape_control_characters(logger: Any, name: str, event: EventDict) -> EventDict:
    """Escape control characters: an encoded line break in a path could forge a log line."""
    event["event"] = _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", str(event["event"]))
    return event


def _drop_exception_messages(logger: Any, name: str, event: EventDict) -> EventDict:
    """Replace the exception by its type and the locations of its traceback."""
    if exc_info := event.pop("exc_info", None):
        kind, _, trace = sys.exc_info() if exc_info is True else exc_info
        frames = "".join(traceback.format_list(traceback.extract_tb(trace)))
        event["exception"] = f"{frames}{getattr(kind, '__name__', kind)}"
    return event
