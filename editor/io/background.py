"""Compute a value in a background thread. Hashing, matrix products and file access leave the other cores to the caller."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

Value = TypeVar("Value")


def run_in_background(compute: Callable[[], Value]) -> "Future[Value]":
    """Start a thread that computes a value; its ``result()`` waits for it and raises its errors.

    The thread does not keep the process alive: a job that fails early does not wait for it.
    """
    future: Future[Value] = Future()

    def run() -> None:
        try:
            future.set_result(compute())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future
