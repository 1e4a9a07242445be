"""Compute a value in a background thread. Hashing, matrix products and file access leave the other cores to the caller."""

from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from threading import Thread
from typing import TypeVar

from editor.io.progress import CHECK_SECONDS, report_fraction, report_to

Value = TypeVar("Value")


class BackgroundValue(Future[Value]):
    """A value that a background thread computes, and the fraction of the work that is finished."""

    fraction: float = 0.0
    abandoned: bool = False

    def join(self) -> Value:
        """Wait for the value, and report the thread's progress as that of the current work. Raises the thread's errors.

        If the current work is canceled, the thread ends where it reports next.
        """
        try:
            while not wait([self], CHECK_SECONDS).done:
                report_fraction(self.fraction)
        except BaseException:
            self.abandoned = True
            raise
        return self.result()

    def note(self, fraction: float) -> None:
        """Store the finished fraction. Called in the thread."""
        if self.abandoned:
            raise CancelledError
        self.fraction = fraction


def run_in_background(compute: Callable[[], Value]) -> "BackgroundValue[Value]":
    """Start a thread that computes a value; its ``join()`` waits for it and raises its errors.

    The thread does not keep the process alive: a job that fails early does not wait for it.
    """
    value: BackgroundValue[Value] = BackgroundValue()

    def run() -> None:
        try:
            with report_to(value.note):
                value.set_result(compute())
        except BaseException as error:
            value.set_exception(error)

    Thread(target=run, daemon=True).start()
    return value
