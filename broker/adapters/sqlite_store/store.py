"""Answer the store's port from SQLite."""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Self, TypeVar

from broker.adapters.sqlite_store import (
    bundle as bundle_row,
)
from broker.adapters.sqlite_store import (
    changes,
    file_rows,
    halts,
    labels,
    log_rows,
    queries,
    schema,
    witness_rows,
)
from broker.adapters.sqlite_store.call_record import to_microseconds
from broker.adapters.sqlite_store.changes import Recorded
from broker.adapters.sqlite_store.chronicle import Chronicle, Seal
from broker.adapters.sqlite_store.ownership import Ownership
from broker.adapters.sqlite_store.writer import Writer, unavailable
from broker.core.call import Call
from broker.core.document import Document
from broker.core.halt import Halt
from broker.core.ids import AgentId, CallId, HaltId, Pseudonym, Sha256
from broker.core.merkle import ReadNodes
from broker.core.witness import Cosignature
from broker.errors import StoreUnavailable
from broker.ports import (
    CallFilter,
    Change,
    Event,
    EventDraft,
    KeptBundle,
    LogEntry,
    LogHead,
    StagedFile,
    StoredReceipt,
)

_READERS = 4
_BUSY_TIMEOUT_S = 5.0

T = TypeVar("T")


class SqliteStore:
    """A `Store` in one file; made by `open`.

    Reads go to a few connections of their own, each with a thread to wait in; everything that
    writes goes through the one writer.
    """

    def __init__(
        self,
        *,
        ownership: Ownership,
        writer: Writer,
        readers: Sequence[sqlite3.Connection],
        installation: str,
        epoch: int,
    ) -> None:
        self._ownership = ownership
        self._writer = writer
        self._installation = installation
        self._epoch = epoch
        self._is_closed = False
        self._all_readers = readers
        self._readers: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        for reader in readers:
            self._readers.put(reader)
        self._threads = ThreadPoolExecutor(len(readers), thread_name_prefix="store-reader")

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        seal: Seal,
        now: Callable[[], datetime],
        is_clock_trusted: Callable[[], bool] = lambda: True,
        busy_timeout_s: float = _BUSY_TIMEOUT_S,
    ) -> Self:
        """Own the store at this path, made or migrated where need be, for one more life.

        Args:
            path: The database file; its folder exists.
            seal: Signs a receipt at its place; called in the writer's thread.
            now: The broker's time; called in the writer's thread.
            is_clock_trusted: Whether the machine's time is believed; likewise. By default it is.
            busy_timeout_s: How long to wait for a foreign program that locks the file.

        Raises:
            StoreUnavailable: Another broker owns it, it is damaged, too new, or unusable; the
                message says what to do.
        """
        opened = await asyncio.to_thread(_open, path, seal, now, is_clock_trusted, busy_timeout_s)
        ownership, chronicle, readers, installation, epoch = opened
        return cls(
            ownership=ownership,
            writer=Writer(chronicle, loop=asyncio.get_running_loop()),
            readers=readers,
            installation=installation,
            epoch=epoch,
        )

    @property
    def installation(self) -> str:
        """Random id of this store, 32 hexadecimal characters."""
        return self._installation

    @property
    def epoch(self) -> int:
        """Counts the lives of the broker on this store, from 1."""
        return self._epoch

    async def commit(self, change: Change) -> StoredReceipt | None:
        """Write one change by compare-and-set; return the receipt where one was sealed.

        Raises:
            ValueError: The change contradicts itself or the lifecycle: a bug of its author.
        """
        recorded = Recorded.of(change)
        self._refuse_if_closed()
        return await self._writer.commit(recorded)

    async def append_event(self, draft: EventDraft) -> None:
        """Record an event that belongs to no call."""
        await self._write(lambda chronicle: chronicle.append_events([(draft, None)]))

    async def set_premise(self, name: str, value: str, event: EventDraft) -> None:
        """Set what decisions rest on, with the event that says so."""
        await self._write(lambda chronicle: changes.write_premise(chronicle, name, value, event))

    async def premise(self, name: str) -> str | None:
        """Read a premise; None where nobody set it."""
        return await self._read(partial(queries.premise, name=name))

    async def keep_bundle(self, bundle: KeptBundle, event: EventDraft) -> None:
        """Keep the bundle that becomes active, with its premise and event."""
        await self._write(lambda chronicle: bundle_row.keep_bundle(chronicle, bundle, event))

    async def kept_bundle(self) -> KeptBundle | None:
        """Read the bundle that was kept last."""
        return await self._read(bundle_row.kept_bundle)

    async def set_halt(self, halt: Halt, reason: Document, event: EventDraft) -> None:
        """Record an active halt with its reason and event."""
        await self._write(lambda chronicle: halts.write_halt(chronicle, halt, reason, event))

    async def lift_halt(self, halt: HaltId, event: EventDraft) -> None:
        """Remove a halt with the event that says so."""
        await self._write(lambda chronicle: halts.lift_halt(chronicle, halt, event))

    async def halts(self) -> Sequence[Halt]:
        """List active halts, oldest first."""
        return await self._read(halts.list_halts)

    async def labels(self) -> Mapping[AgentId, frozenset[str]]:
        """List what every agent is labelled with."""
        return await self._read(labels.list_labels)

    async def get_call(self, call: CallId) -> Call | None:
        """Read one call."""
        return await self._read(partial(queries.get_call, call=call))

    async def find_by_request_id(self, agent: AgentId, request_id: str) -> Call | None:
        """Find the call that this agent made under this request_id."""
        return await self._read(
            partial(queries.find_by_request_id, agent=agent, request_id=request_id)
        )

    async def find_by_short_id(self, prefix: str, agent: AgentId | None) -> Sequence[Call]:
        """Find up to 2 calls whose short id starts so, of this agent or of any."""
        return await self._read(partial(queries.find_by_short_id, prefix=prefix, agent=agent))

    async def list_calls(
        self, wanted: CallFilter, *, limit: int, before: CallId | None
    ) -> Sequence[Call]:
        """List calls, newest first, strictly older than `before`."""
        return await self._read(
            partial(queries.list_calls, wanted=wanted, limit=limit, before=before)
        )

    async def open_calls(self) -> Sequence[Call]:
        """List every call that has not ended, oldest first."""
        return await self._read(queries.open_calls)

    async def recent_calls(self, since: datetime) -> Sequence[Call]:
        """List the calls received since then, oldest first."""
        return await self._read(partial(queries.recent_calls, since=since))

    async def latest_at(self) -> datetime | None:
        """Give the time of the last event; None in a new store."""
        return await self._read(queries.latest_at)

    async def document(self, sha256: Sha256) -> Document | None:
        """Read one document; None where it was erased or never was."""
        return await self._read(partial(queries.document, sha256=sha256))

    async def file(self, agent: AgentId, sha256: Sha256) -> bytes | None:
        """Read one file of an agent, checked against its digest."""
        return await self._read(partial(file_rows.whole, agent=agent, sha256=sha256))

    async def file_piece(self, agent: AgentId, sha256: Sha256, number: int) -> bytes | None:
        """Read one piece of a file, from 0."""
        return await self._read(partial(file_rows.piece, agent=agent, sha256=sha256, number=number))

    async def file_size(self, agent: AgentId, sha256: Sha256, at: datetime) -> int | None:
        """Give the size of a file that has not expired by then."""
        at_us = to_microseconds(at)
        return await self._read(partial(file_rows.size, agent=agent, sha256=sha256, at_us=at_us))

    async def file_bytes(self, agent: AgentId) -> int:
        """Sum up the sizes of an agent's files."""
        return await self._read(partial(file_rows.file_bytes, agent=agent))

    async def begin_file(self, agent: AgentId, first: bytes) -> StagedFile:
        """Begin to stage a file by its first piece; give the name to go on with."""
        return await self._write(lambda at: file_rows.begin(at.connection, agent, first))

    async def extend_file(self, staged: StagedFile, piece: bytes) -> None:
        """Add the next piece to a file that is being staged."""
        await self._write(lambda at: file_rows.extend(at.connection, staged, piece))

    async def keep_file(
        self,
        staged: StagedFile,
        *,
        sha256: Sha256,
        expires_at: datetime | None,
        most_bytes: int,
    ) -> None:
        """Make a staged file one of its agent's."""
        keep = partial(
            file_rows.keep,
            staged=staged,
            sha256=sha256,
            expires_at_us=None if expires_at is None else to_microseconds(expires_at),
            most_bytes=most_bytes,
        )
        is_new = await self._write(lambda at: keep(at.connection))
        if not is_new:
            await self.drop_file(staged)

    async def drop_file(self, staged: StagedFile) -> None:
        """Remove a file that is being staged, some pieces in each commit."""
        while not await self._write(lambda at: file_rows.drop_some(at.connection, staged)):
            pass

    async def drop_expired_files(self, before: datetime) -> int:
        """Remove files that expired before then, unless an open call names them; count them."""
        before_us, dropped = to_microseconds(before), 0
        while True:
            hidden = await self._write(lambda at: file_rows.hide_expired(at.connection, before_us))
            if hidden is None:
                return dropped
            await self.drop_file(hidden)
            dropped += 1

    async def workspace_tree(self, agent: AgentId, session_id: str) -> Sha256 | None:
        """Name the TREE document of a session's current workspace."""
        return await self._read(partial(queries.workspace_tree, agent=agent, session_id=session_id))

    async def receipt(self, call: CallId) -> StoredReceipt | None:
        """Read the receipt of a call."""
        return await self._read(partial(queries.receipt, call=call))

    async def list_receipts(
        self, *, after: int, limit: int, agent: AgentId | None = None
    ) -> Sequence[StoredReceipt]:
        """List receipts by sequence, strictly after one, of one agent's calls or of all."""
        return await self._read(
            partial(queries.list_receipts, after=after, limit=limit, agent=agent)
        )

    async def log_head(self, size: int | None = None) -> LogHead | None:
        """Read the head of a size, or the latest."""
        return await self._read(partial(log_rows.head, size=size))

    async def log_entries(self, start: int, limit: int) -> Sequence[bytes]:
        """Read entries of the log from an index on."""
        return await self._read(partial(log_rows.entries, start=start, limit=limit))

    async def log_sources(self, start: int, limit: int) -> Sequence[LogEntry]:
        """Read what entries of the log are made from."""
        return await self._read(partial(log_rows.sources, start=start, limit=limit))

    async def log_index(self, receipt: int) -> int:
        """Give the index of the receipt of a sequence."""
        return await self._read(partial(log_rows.index_of, receipt=receipt))

    async def close_batch(self, salt: bytes) -> bool:
        """Append an entry to the log that covers the events which no batch covers."""
        return await self._write(lambda chronicle: log_rows.close_batch(chronicle, salt))

    async def fold_log(self, work: Callable[[ReadNodes], T]) -> T:
        """Run a pure function that reads nodes of the log, in a reader's thread."""
        return await self._read(partial(log_rows.fold, work=work))

    async def advance_log(
        self,
        *,
        expected: LogHead | None,
        hashes: Sequence[bytes],
        to: LogHead,
        leaves: Mapping[int, bytes],
    ) -> None:
        """Append to the log what a new head covers, by compare-and-set."""
        await self._write(
            lambda chronicle: log_rows.advance(chronicle.connection, expected, hashes, to, leaves)
        )

    async def add_cosignature(self, size: int, cosignature: Cosignature) -> None:
        """Keep a witness's cosignature of the head of a size."""
        await self._write(
            lambda chronicle: witness_rows.add(chronicle.connection, size, cosignature)
        )

    async def cosignatures(self, size: int) -> Sequence[Cosignature]:
        """Read the cosignatures of the head of a size, by key id."""
        return await self._read(partial(witness_rows.read, size=size))

    async def cosigned_size(self, witness: Sha256) -> int:
        """Give the largest size that a key cosigned; 0 where it cosigned none."""
        return await self._read(partial(witness_rows.largest, witness=witness))

    async def witnessed_head(self, witnesses: Sequence[Sha256], quorum: int) -> LogHead | None:
        """Read the latest head that at least so many of these keys cosigned, if there is one."""
        return await self._read(partial(witness_rows.witnessed, witnesses=witnesses, quorum=quorum))

    async def events(
        self, *, after: int, limit: int, call: CallId | None = None
    ) -> Sequence[Event]:
        """List events by sequence, strictly after one."""
        return await self._read(partial(queries.events, after=after, limit=limit, call=call))

    async def pseudonym(self, person: str, fresh: Pseudonym) -> Pseudonym:
        """Give the person's pseudonym; record `fresh` as it where there is none yet."""
        found = await self._read(partial(changes.find_pseudonym, person=person))
        if found is not None:
            return found
        return await self._write(
            lambda chronicle: changes.write_pseudonym(chronicle, person, fresh)
        )

    async def close(self) -> None:
        """Finish what was begun, then release the store. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        await asyncio.to_thread(self._threads.shutdown)
        for reader in self._all_readers:
            reader.close()
        # Last, so that it is the writer's connection that moves the journal into the file.
        await self._writer.close()
        self._ownership.release()

    async def _write(self, work: Callable[[Chronicle], T]) -> T:
        self._refuse_if_closed()
        return await self._writer.submit(work)

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        self._refuse_if_closed()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._answer, query)

    def _answer(self, query: Callable[[sqlite3.Connection], T]) -> T:
        reader = self._readers.get()
        try:
            return query(reader)
        except sqlite3.Error as error:
            raise unavailable(error) from error
        finally:
            self._readers.put(reader)

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise StoreUnavailable("the store is closed: the broker is stopping")


def _open(
    path: Path,
    seal: Seal,
    now: Callable[[], datetime],
    is_clock_trusted: Callable[[], bool],
    busy_timeout_s: float,
) -> tuple[Ownership, Chronicle, list[sqlite3.Connection], str, int]:
    with ExitStack() as undo:
        try:
            # One file, one lock, by whatever name it is reached.
            path = path.resolve()
            ownership = Ownership.take(path)
            undo.callback(ownership.release)
            connection = schema.open_for_writing(path, now, busy_timeout_s)
            undo.callback(connection.close)
            installation, epoch = schema.begin_life(connection)
            chronicle = Chronicle(
                connection,
                installation=installation,
                epoch=epoch,
                seal=seal,
                now=now,
                is_clock_trusted=is_clock_trusted,
            )
            readers: list[sqlite3.Connection] = []
            for _ in range(_READERS):
                readers.append(schema.open_for_reading(path, busy_timeout_s))
                undo.callback(readers[-1].close)
        except OSError as error:
            raise StoreUnavailable(
                f"the store {path} cannot be opened ({error.strerror}): [store] path names a file"
                " in an existing folder that the broker may write to"
            ) from error
        except sqlite3.OperationalError as error:
            raise unavailable(error) from error
        except sqlite3.Error as error:
            raise schema.damaged(path, error) from error
        undo.pop_all()
    return ownership, chronicle, readers, installation, epoch
