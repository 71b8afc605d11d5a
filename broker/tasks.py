"""Keep tasks that nobody awaits, or not to their end."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


class Tasks:
    """Hold tasks until they are done: the event loop itself holds them weakly."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    def start(self, work: Coroutine[object, object, T]) -> "asyncio.Task[T]":
        """Start work that goes on when its starter is gone."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def detached(self, work: Coroutine[object, object, T]) -> T:
        """Do work to its end even if the one who waits for it is cancelled."""
        return await asyncio.shield(self.start(work))

    async def done(self) -> None:
        """Wait until every task has ended."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def cancel(self) -> None:
        """Stop every task, wait until all have ended."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def first(*waits: Coroutine[object, object, object]) -> tuple[bool, ...]:
    """Wait until one of several waits is over, stop the others; tell which ones are over."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    # A wait that ended while it was being stopped did end: what it acquired is ours.
    return tuple(not task.cancelled() and task.exception() is None for task in tasks)
