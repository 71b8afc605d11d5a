"""Commit queued changes in groups, from one thread."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

from broker.adapters.sqlite_store.changes import Recorded, write_changes
from broker.adapters.sqlite_store.chronicle import Chronicle
from broker.errors import StoreUnavailable
from broker.ports import StoredReceipt

_GROUP = 64
_OF_THE_CHANGE = (
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
)

T = TypeVar("T")


@dataclass(slots=True)
class _Job:
    """One write on its way; `error` is read only once its group has ended.

    `work` is a change, or what any other write does.
    """

    work: Recorded | Callable[[Chronicle], object]
    done: "asyncio.Future[object]"
    answer: object = field(default=None, init=False)
    error: Exception | None = field(default=None, init=False)


class Writer:
    """The thread that owns the write connection. `submit` and `close` belong to one event loop."""

    def __init__(self, chronicle: Chronicle, *, loop: asyncio.AbstractEventLoop) -> None:
        self._chronicle = chronicle
        self._loop = loop
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._is_head_known = True
        self._thread = Thread(target=self._serve, name="store-writer", daemon=True)
        self._thread.start()

    async def commit(self, change: Recorded) -> StoredReceipt | None:
        """Write a change in the next group; as `submit`."""
        done: asyncio.Future[StoredReceipt | None] = self._loop.create_future()
        self._queue.put(_Job(change, done))  # type: ignore[arg-type]
        return await done

    async def submit(self, work: Callable[[Chronicle], T]) -> T:
        """Run `work` in the next group; return its answer when the group is durable.

        A caller that is cancelled meanwhile leaves the work to be done.

        Raises:
            StoreUnavailable: The group could not be committed; nothing of it was written.
        """
        done: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Job(work, done))  # type: ignore[arg-type]
        return await done

    async def close(self) -> None:
        """Commit what is queued, then close the connection."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _serve(self) -> None:
        is_open = True
        while is_open:
            group, is_open = self._next_group()
            if group:
                self._commit(group)
                self._announce(group)
        self._chronicle.connection.close()

    def _next_group(self) -> tuple[list[_Job], bool]:
        """Wait for a first change; take along what else is there by then."""
        group: list[_Job] = []
        job = self._queue.get()
        try:
            while job is not None:
                group.append(job)
                if len(group) == _GROUP:
                    return group, True
                job = self._queue.get_nowait()
        except Empty:
            return group, True
        return group, False

    def _commit(self, group: Sequence[_Job]) -> None:
        connection = self._chronicle.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            if not self._is_head_known:
                self._chronicle.head = self._chronicle.stored_head()
                self._is_head_known = True
            if not self._write_together(group):
                for job in group:
                    self._write_alone(job)
            connection.execute("COMMIT")
        # Broad, because an error that left this thread would leave every caller waiting for ever.
        except Exception as error:
            self._abandon(group, error)

    def _write_together(self, group: Sequence[_Job]) -> bool:
        """Write a group of changes; where one is refused, undo them all and say so."""
        changes = [job.work for job in group if isinstance(job.work, Recorded)]
        if len(changes) < len(group):
            return False
        connection, head = self._chronicle.connection, self._chronicle.head
        try:
            receipts = write_changes(self._chronicle, changes)
        except sqlite3.Error as error:
            if not isinstance(error, _OF_THE_CHANGE):
                raise
        # Whatever else it is, it will be said again, by the change that it belongs to alone.
        except Exception:  # noqa: S110
            pass
        else:
            for job, receipt in zip(group, receipts, strict=True):
                job.answer = receipt
            return True
        connection.execute("ROLLBACK")
        self._chronicle.head = head
        connection.execute("BEGIN IMMEDIATE")
        return False

    def _write_alone(self, job: _Job) -> None:
        """Do one job's work; where it is refused, undo that alone."""
        connection, head = self._chronicle.connection, self._chronicle.head
        connection.execute("SAVEPOINT change")
        try:
            if isinstance(job.work, Recorded):
                (job.answer,) = write_changes(self._chronicle, [job.work])
            else:
                job.answer = job.work(self._chronicle)
        except _OF_THE_CHANGE as error:
            job.error = ValueError(f"the change breaks a rule of the store: {error}")
            job.error.__cause__ = error
        except sqlite3.Error:
            raise
        # Whatever sealing or encoding raises belongs to this change's author alone.
        except Exception as error:
            job.error = error
        if job.error is not None:
            connection.execute("ROLLBACK TO change")
            self._chronicle.head = head
        connection.execute("RELEASE change")

    def _abandon(self, group: Sequence[_Job], error: Exception) -> None:
        """Fail the whole group: even a refusal in it may rest on what is now undone."""
        self._is_head_known = False
        try:
            if self._chronicle.connection.in_transaction:
                self._chronicle.connection.execute("ROLLBACK")
        except sqlite3.Error as rollback_error:
            error.add_note(f"the rollback failed too: {rollback_error}")
        for job in group:
            job.error = unavailable(error)
            job.error.__cause__ = error

    def _announce(self, group: Sequence[_Job]) -> None:
        # RuntimeError: the loop is closed, so nobody waits any more; the record stands.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._deliver, group)

    def _deliver(self, group: Sequence[_Job]) -> None:
        for job in group:
            if job.done.done():
                continue
            if job.error is None:
                job.done.set_result(job.answer)
            else:
                job.done.set_exception(job.error)


def unavailable(error: Exception) -> StoreUnavailable:
    """Translate what stopped the database."""
    return StoreUnavailable(
        f"the store cannot be used now ({error}): check its disk's space, its file's permissions,"
        " whether another program holds it; nothing was written"
    )
