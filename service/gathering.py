"""Calls that come while others are at work are done together, next: a crowd of clients costs a few transactions."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

T = TypeVar("T")
R = TypeVar("R")

MOST = 64
"""Calls that are done together: no one waits for more than so many others."""


class Gathering(Generic[T, R]):
    """A function of many items, to be called with one at a time from an event loop; it runs in one thread at a time.

    `work` returns an outcome for each item, in order: an exception is raised where that item came from. What it raises itself
    is raised everywhere.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R | Exception]]) -> None:
        self._work = work
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, item: T) -> R:
        """Its outcome."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            together, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            outcomes = await self._outcomes([item for item, _ in together])
            for (_, future), outcome in zip(together, outcomes, strict=True):
                _settle(future, outcome)

    async def _outcomes(self, items: Sequence[T]) -> Sequence[R | Exception]:
        try:
            return await run_in_threadpool(self._work, items)
        except Exception as error:
            return [error] * len(items)


def _settle(future: "asyncio.Future[R]", outcome: R | Exception) -> None:
    if future.done():  # whoever asked is gone
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
