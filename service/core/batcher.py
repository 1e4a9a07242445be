"""Group concurrent calls into batches, so that many clients cost a few transactions."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

MAX_BATCH_SIZE = 64
"""Calls in one batch, which bounds how long a call waits for the others."""


class Batcher(Generic[T, R]):
    """Call a function of many items with one item at a time.

    Calls that arrive while a batch is running form the next batch. Batches run one after the other in a thread.

    Args:
        work: Takes a sequence of items and returns a result for each, in order. An exception among the results is raised to
            the caller of that item; an exception that `work` raises is raised to all callers of the batch.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R | Exception]]) -> None:
        self._work = work
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._busy = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batcher")

    async def __call__(self, item: T) -> R:
        """Add an item to the next batch and return its result."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append((item, future))
        if not self._busy:
            self._busy = True
            # The next loop iteration: requests that have been read by then join the first batch.
            loop.call_soon(self._start_next, loop)
        return await future

    def _start_next(self, loop: asyncio.AbstractEventLoop) -> None:
        batch, self._waiting = self._waiting[:MAX_BATCH_SIZE], self._waiting[MAX_BATCH_SIZE:]
        self._busy = bool(batch)
        if batch:
            work = self._thread.submit(self._work, [item for item, _ in batch])
            futures = [future for _, future in batch]
            work.add_done_callback(lambda done: loop.call_soon_threadsafe(self._finish, loop, futures, done))

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        futures: Sequence["asyncio.Future[R]"],
        done: "Future[Sequence[R | Exception]]",
    ) -> None:
        self._start_next(loop)
        error = done.exception()
        results = [error] * len(futures) if error else done.result()
        for future, result in zip(futures, results, strict=True):
            _resolve(future, result)


def _resolve(future: "asyncio.Future[R]", result: R | BaseException) -> None:
    if future.done():  # the caller was canceled
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
