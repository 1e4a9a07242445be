"""Progress of long work, and the places at which it can be canceled.

A callback receives the finished fraction and may raise to cancel the work. Functions that are called deep inside a phase do not
get it as a parameter: the phase sets it with `report_to`. They report with `track` and `step`, or only check for cancellation,
with `checked` and `check_canceled`.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

ProgressCallback = Callable[[float], None]
"""Called with the finished fraction, 0 to 1. May raise to cancel the work."""
CHECK_SECONDS = 0.25
"""Seconds between two checks while another thread computes."""

T = TypeVar("T")


@dataclass(frozen=True)
class SubProgress:
    """Report one step of a longer task: the step covers ``share`` of the task and begins at ``start``."""

    parent: ProgressCallback
    start: float
    share: float

    def __call__(self, fraction: float) -> None:
        """Report the finished fraction of this step."""
        self.parent(self.start + self.share * fraction)


@dataclass(eq=False)
class Task:
    """Work in progress: its callback, the work that it is part of, and the fraction that it last reported."""

    callback: ProgressCallback
    outer: "Task | None" = None
    fraction: float = 0.0
    reporting: bool = False

    def report(self, fraction: float) -> None:
        """Report the finished fraction. Has no effect while the callback runs, which may itself be `no_progress`."""
        self.fraction = fraction
        if self.reporting:
            return
        self.reporting = True
        try:
            self.callback(fraction)
        finally:
            self.reporting = False

    def belongs_to(self, task: "Task") -> bool:
        """Return whether this is the task, or a part of it."""
        return self is task or (self.outer is not None and self.outer.belongs_to(task))


_IDLE = Task(lambda fraction: None)
_current: ContextVar[Task] = ContextVar("progress", default=_IDLE)


@contextmanager
def report_to(callback: ProgressCallback) -> Iterator[None]:
    """Context manager: work of this thread in the block reports to ``callback``."""
    outer = _current.get()
    task = Task(callback, outer)
    _current.set(task)
    try:
        yield
    finally:
        if _current.get().belongs_to(task):  # not if this is an abandoned generator, and the block around it has ended
            _current.set(outer)


def report_fraction(fraction: float) -> None:
    """Report the finished fraction of the current work."""
    _current.get().report(fraction)


@contextmanager
def step(start: float, share: float) -> Iterator[None]:
    """Context manager: the block is one step of the current work, as in `SubProgress`. Reports its end."""
    work = _current.get()
    with report_to(SubProgress(work.report, start, share)):
        yield
    work.report(start + share)


def track(items: Collection[T]) -> Iterator[T]:
    """Yield the items. Each is one of the equal steps of the current work."""
    for index, item in enumerate(items):
        with step(index / len(items), 1 / len(items)):
            yield item


def check_canceled() -> None:
    """Report again what was reported last, so that the callback can raise. For loops that can take seconds."""
    work = _current.get()
    work.report(work.fraction)


def checked(items: Iterable[T]) -> Iterator[T]:
    """Yield the items, and check for cancellation before each."""
    for item in items:
        check_canceled()
        yield item


def no_progress(fraction: float) -> None:
    """Report no progress of a part of the work, but check for cancellation. The default callback of such parts."""
    check_canceled()
