"""Calls that come while others are at work are done together, next: a crowd of clients costs a few transactions."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

MOST = 64
"""Calls that are done together: no one waits for more than so many others."""


class Gathering(Generic[T, R]):
    """A function of many items, to be called with one at a time from an event loop; it runs in a thread of its own.

    `work` returns an outcome for each item, in order: an exception is raised where that item came from. What it raises itself
    is raised everywhere.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R | Exception]]) -> None:
        self._work = work
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._busy = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gathering")

    async def __call__(self, item: T) -> R:
        """Its outcome."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append((item, future))
        if not self._busy:
            self._busy = True
            loop.call_soon(self._begin, loop)  # so that all whose requests have been read by then are among the first
        return await future

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the thread work on those who wait, and go on until nobody does."""
        together, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        self._busy = bool(together)
        if together:
            work = self._thread.submit(self._work, [item for item, _ in together])
            futures = [future for _, future in together]
            work.add_done_callback(lambda done: loop.call_soon_threadsafe(self._end, loop, futures, done))

    def _end(
        self,
        loop: asyncio.AbstractEventLoop,
        futures: Sequence["asyncio.Future[R]"],
        done: "Future[Sequence[R | Exception]]",
    ) -> None:
        self._begin(loop)
        error = done.exception()
        outcomes = [error] * len(futures) if error else done.result()
        for future, outcome in zip(futures, outcomes, strict=True):
            _settle(future, outcome)


def _settle(future: "asyncio.Future[R]", outcome: R | BaseException) -> None:
    if future.done():  # whoever asked is gone
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
