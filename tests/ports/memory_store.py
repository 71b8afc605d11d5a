"""Keep the record in memory, as the real stores keep it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Self, TypeVar

from broker.core.call import Call
from broker.core.document import Document
from broker.core.halt import Halt, halted_by
from broker.core.ids import AgentId, CallId, HaltId, Pseudonym, Sha256, sha256_hex
from broker.core.lifecycle import CallState, Step, after
from broker.core.log_leaf import LeafKind, kind_of
from broker.core.merkle import ReadNodes, stored_count, stored_place
from broker.core.receipt import Position, ReceiptDraft
from broker.core.witness import Cosignature
from broker.errors import (
    DuplicateRequest,
    PremiseChanged,
    QuotaSpent,
    ShortIdTaken,
    StaleBundle,
    StaleCall,
    StaleLog,
    StoreUnavailable,
)
from broker.ports import (
    BUNDLE_PREMISE,
    CLOCK_PREMISE,
    HALTS_PREMISE,
    LABELS_PREMISE,
    PIECE_BYTES,
    START_BY_PREMISE,
    CallFilter,
    Change,
    Event,
    EventDraft,
    EventRange,
    KeptBundle,
    LogEntry,
    LogHead,
    StagedFile,
    StoredReceipt,
)
from tests.ports import history

T = TypeVar("T")


class Fault(Enum):
    """How a write goes wrong; its author hears StoreUnavailable either way."""

    BEFORE = "nothing was written"
    AFTER = "all was written, the answer was lost"


@dataclass
class MemoryDisk:
    """What outlives a broker.

    Set `faults` to let writes fail: the number of a write, counted in `writes` from 1 through
    all lives, with the way it fails. `blinding`: the next read after such a write fails too.
    """

    installation: str = "0123456789abcdef" * 2
    epoch: int = 0
    is_owned: bool = False
    writes: int = 0
    faults: dict[int, Fault] = field(default_factory=dict)
    blinding: bool = False
    is_blind: bool = False
    calls: dict[CallId, Call] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    events_of: dict[CallId, list[Event]] = field(default_factory=dict)
    receipts: list[StoredReceipt] = field(default_factory=list)
    receipt_of: dict[CallId, StoredReceipt] = field(default_factory=dict)
    documents: dict[Sha256, Document] = field(default_factory=dict)
    files: dict[tuple[AgentId, Sha256], bytes] = field(default_factory=dict)
    expiries: dict[tuple[AgentId, Sha256], datetime] = field(default_factory=dict)
    staged: dict[StagedFile, tuple[AgentId, bytes]] = field(default_factory=dict)
    staged_so_far: int = 0
    premises: dict[str, str] = field(default_factory=dict)
    bundle: KeptBundle | None = None
    halts: dict[HaltId, Halt] = field(default_factory=dict)
    labels: dict[AgentId, frozenset[str]] = field(default_factory=dict)
    workspaces: dict[tuple[AgentId, str], Sha256] = field(default_factory=dict)
    people: dict[str, Pseudonym] = field(default_factory=dict)
    requests: dict[tuple[AgentId, str], CallId] = field(default_factory=dict)
    short_ids: dict[str, CallId] = field(default_factory=dict)
    log_entries: list[tuple[LeafKind, int]] = field(default_factory=list)
    log_batches: dict[int, tuple[int, int, bytes]] = field(default_factory=dict)
    log_leaves: dict[int, bytes] = field(default_factory=dict)
    log_nodes: list[bytes] = field(default_factory=list)
    log_heads: dict[int, LogHead] = field(default_factory=dict)
    cosignatures: dict[tuple[int, Sha256], Cosignature] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def fail_next(self, fault: Fault) -> None:
        """Let the next write go wrong."""
        self.faults[self.writes + 1] = fault

    def crash(self) -> None:
        """Let go of the disk without a word, as a killed broker does."""
        self.is_owned = False


class MemoryStore:
    """A `Store` on a `MemoryDisk`; made by `open`.

    After each write it checks what must hold of the record; what does not fails the test, at
    once and, where somebody catches that, again in `close`.
    """

    def __init__(
        self,
        disk: MemoryDisk,
        *,
        seal: Callable[[ReceiptDraft, Position], bytes],
        now: Callable[[], datetime],
        is_clock_trusted: Callable[[], bool],
    ) -> None:
        self._disk = disk
        self._seal = seal
        self._now = now
        self._is_clock_trusted = is_clock_trusted
        self._is_closed = False
        self._epoch = disk.epoch

    @classmethod
    async def open(
        cls,
        disk: MemoryDisk,
        *,
        seal: Callable[[ReceiptDraft, Position], bytes],
        now: Callable[[], datetime],
        is_clock_trusted: Callable[[], bool] = lambda: True,
    ) -> Self:
        """Own the disk for one more life; `SqliteStore.open` says what the arguments mean."""
        if disk.is_owned:
            raise StoreUnavailable("another broker owns the store", reason="STORE_IN_USE")
        disk.is_owned = True
        disk.epoch += 1
        disk.staged.clear()
        return cls(disk, seal=seal, now=now, is_clock_trusted=is_clock_trusted)

    @property
    def installation(self) -> str:
        """Id of this store."""
        return self._disk.installation

    @property
    def epoch(self) -> int:
        """Counts the lives of the broker on this store, from 1."""
        return self._epoch

    async def commit(self, change: Change) -> StoredReceipt | None:
        """Write one change by compare-and-set."""
        self._check_shape(change)
        return await self._write(lambda: self._commit(change))

    async def append_event(self, draft: EventDraft) -> None:
        """Record an event that belongs to no call."""
        await self._write(lambda: self._append(draft))

    async def set_premise(self, name: str, value: str, event: EventDraft) -> None:
        """Set what decisions rest on."""

        def work() -> None:
            self._disk.premises[name] = value
            self._append(event)

        await self._write(work)

    async def premise(self, name: str) -> str | None:
        """Read a premise."""
        self._refuse_if_lost()
        return self._disk.premises.get(name)

    async def keep_bundle(self, bundle: KeptBundle, event: EventDraft) -> None:
        """Keep the bundle that becomes active, with its premise and event."""

        def work() -> None:
            kept = self._disk.bundle
            if kept is not None and kept.number >= bundle.number:
                raise StaleBundle(f"{kept.revision} is kept")
            self._disk.bundle = bundle
            self._disk.premises[BUNDLE_PREMISE] = bundle.sha256
            self._append(event)

        await self._write(work)

    async def kept_bundle(self) -> KeptBundle | None:
        """Read the bundle that was kept last."""
        return (await self._read()).bundle

    async def set_halt(self, halt: Halt, reason: Document, event: EventDraft) -> None:
        """Record an active halt with its reason and event."""

        def work() -> None:
            if halt.id not in self._disk.halts:
                self._disk.halts[halt.id] = halt
                self._disk.documents[reason.sha256] = reason
                self._append(event)

        await self._write(work)

    async def lift_halt(self, halt: HaltId, event: EventDraft) -> None:
        """Remove a halt with the event that says so."""

        def work() -> None:
            if self._disk.halts.pop(halt, None):
                self._append(event)

        await self._write(work)

    async def halts(self) -> Sequence[Halt]:
        """List active halts, oldest first."""
        halts = (await self._read()).halts.values()
        return sorted(halts, key=lambda halt: (halt.set_at, halt.id))

    async def labels(self) -> Mapping[AgentId, frozenset[str]]:
        """List what every agent is labelled with."""
        return dict((await self._read()).labels)

    async def get_call(self, call: CallId) -> Call | None:
        """Read one call."""
        return (await self._read()).calls.get(call)

    async def find_by_request_id(self, agent: AgentId, request_id: str) -> Call | None:
        """Find the call that this agent made under this request_id."""
        disk = await self._read()
        call = disk.requests.get((agent, request_id))
        return None if call is None else disk.calls[call]

    async def find_by_short_id(self, prefix: str, agent: AgentId | None) -> Sequence[Call]:
        """Find up to 2 calls whose short id starts so."""
        disk = await self._read()
        found = [disk.calls[disk.short_ids[name]] for name in sorted(disk.short_ids)]
        return [
            call
            for call in found
            if call.short_id.startswith(prefix) and agent in (None, call.agent)
        ][:2]

    async def list_calls(
        self, wanted: CallFilter, *, limit: int, before: CallId | None
    ) -> Sequence[Call]:
        """List calls, newest first."""
        disk = await self._read()
        return [
            call
            for call in sorted(disk.calls.values(), key=lambda call: call.id, reverse=True)
            if (before is None or call.id < before)
            and wanted.agent in (None, call.agent)
            and (not wanted.states or call.state in wanted.states)
            and wanted.session_id in (None, call.session_id)
            and wanted.tool in (None, call.tool)
        ][:limit]

    async def open_calls(self) -> Sequence[Call]:
        """List every call that has not ended, oldest first."""
        disk = await self._read()
        calls = sorted(disk.calls.values(), key=lambda call: call.id)
        return [call for call in calls if not call.state.is_final]

    async def recent_calls(self, since: datetime) -> Sequence[Call]:
        """List the calls received since then, oldest first."""
        disk = await self._read()
        calls = sorted(disk.calls.values(), key=lambda call: (call.received_at, call.id))
        return [call for call in calls if call.received_at >= since]

    async def latest_at(self) -> datetime | None:
        """Give the time of the last event; None in a new store."""
        events = (await self._read()).events
        return events[-1].at if events else None

    async def document(self, sha256: Sha256) -> Document | None:
        """Read one document."""
        return (await self._read()).documents.get(sha256)

    async def file(self, agent: AgentId, sha256: Sha256) -> bytes | None:
        """Read one file of an agent."""
        return (await self._read()).files.get((agent, sha256))

    async def file_piece(self, agent: AgentId, sha256: Sha256, number: int) -> bytes | None:
        """Read one piece of a file, from 0."""
        data = (await self._read()).files.get((agent, sha256))
        start = number * PIECE_BYTES
        if data is None or (start >= len(data) and number > 0):
            return None
        return data[start : start + PIECE_BYTES]

    async def file_size(self, agent: AgentId, sha256: Sha256, at: datetime) -> int | None:
        """Give the size of a file that has not expired by then."""
        disk, name = await self._read(), (agent, sha256)
        if name not in disk.files or (name in disk.expiries and disk.expiries[name] <= at):
            return None
        return len(disk.files[name])

    async def file_bytes(self, agent: AgentId) -> int:
        """Sum up the sizes of an agent's files."""
        await self._read()
        return self._file_bytes(agent)

    async def begin_file(self, agent: AgentId, first: bytes) -> StagedFile:
        """Begin to stage a file by its first piece."""

        def work() -> StagedFile:
            self._disk.staged_so_far += 1
            staged = StagedFile(str(self._disk.staged_so_far))
            self._disk.staged[staged] = (agent, first)
            return staged

        return await self._write(work)

    async def extend_file(self, staged: StagedFile, piece: bytes) -> None:
        """Add the next piece."""
        assert len(piece) <= PIECE_BYTES

        def work() -> None:
            agent, data = self._disk.staged[staged]
            self._disk.staged[staged] = (agent, data + piece)

        await self._write(work)

    async def keep_file(
        self,
        staged: StagedFile,
        *,
        sha256: Sha256,
        expires_at: datetime | None,
        most_bytes: int,
    ) -> None:
        """Make a staged file one of its agent's."""

        def work() -> None:
            agent, data = self._disk.staged[staged]
            name, expiries = (agent, sha256), self._disk.expiries
            assert sha256_hex(data) == sha256, "a file's name is its digest"
            if name in self._disk.files:
                if name in expiries and expires_at is not None:
                    expiries[name] = max(expiries[name], expires_at)
                elif expires_at is None:
                    expiries.pop(name, None)
            elif self._file_bytes(agent) + len(data) > most_bytes:
                raise QuotaSpent("over the quota")
            else:
                self._disk.files[name] = data
                if expires_at is not None:
                    expiries[name] = expires_at
            del self._disk.staged[staged]

        await self._write(work)

    async def drop_file(self, staged: StagedFile) -> None:
        """Remove a file that is being staged."""
        await self._write(lambda: self._disk.staged.pop(staged, None))

    async def drop_expired_files(self, before: datetime) -> int:
        """Remove files that expired before then, unless an open call names them."""

        disk = await self._read()
        calls = [call for call in disk.calls.values() if not call.state.is_final]
        named = {(call.agent, file.sha256) for call in calls for file in call.inputs}
        expired = {name for name, at in disk.expiries.items() if at < before} - named

        def work() -> int:
            for name in expired:
                del disk.files[name], disk.expiries[name]
            return len(expired)

        # The real store writes nothing either where there is nothing to drop.
        return await self._write(work) if expired else 0

    def _file_bytes(self, agent: AgentId) -> int:
        files = self._disk.files.items()
        return sum(len(data) for (owner, _), data in files if owner == agent)

    async def workspace_tree(self, agent: AgentId, session_id: str) -> Sha256 | None:
        """Name the TREE document of a session's current workspace."""
        return (await self._read()).workspaces.get((agent, session_id))

    async def receipt(self, call: CallId) -> StoredReceipt | None:
        """Read the receipt of a call."""
        return (await self._read()).receipt_of.get(call)

    async def log_head(self, size: int | None = None) -> LogHead | None:
        """Read the head of a size, or the latest."""
        heads = (await self._read()).log_heads
        return heads.get(max(heads, default=0) if size is None else size)

    async def log_entries(self, start: int, limit: int) -> Sequence[bytes]:
        """Read entries of the log from an index on."""
        disk = await self._read()
        found: list[bytes] = []
        for index, (kind, reference) in [*enumerate(disk.log_entries)][start : start + limit]:
            if kind is LeafKind.RECEIPT:
                found.append(disk.receipts[reference - 1].envelope)
            elif index in disk.log_leaves:
                found.append(disk.log_leaves[index])
            else:
                break
        return found

    async def log_sources(self, start: int, limit: int) -> Sequence[LogEntry]:
        """Read what entries of the log are made from."""
        disk = await self._read()
        return [self._source(disk, index) for index in range(start, len(disk.log_entries))][:limit]

    @staticmethod
    def _source(disk: MemoryDisk, index: int) -> LogEntry:
        kind, reference = disk.log_entries[index]
        if kind is LeafKind.RECEIPT:
            receipt = disk.receipts[reference - 1].envelope
            return LogEntry(index=index, kind=kind, receipt=receipt)
        if kind is LeafKind.BATCH:
            first, last, salt = disk.log_batches[index]
            before = max((place for place in disk.log_batches if place < index), default=-1)
            batch = EventRange(
                events=disk.events[first - 1 : last],
                salt=salt,
                entries=Counter(kind for kind, _ in disk.log_entries[before + 1 : index]),
            )
            return LogEntry(index=index, kind=kind, batch=batch)
        event = disk.events[reference - 1]
        call = disk.calls[event.call] if kind is LeafKind.INTENT and event.call else None
        return LogEntry(index=index, kind=kind, event=event, call=call)

    async def log_index(self, receipt: int) -> int:
        """Give the index of the receipt of a sequence."""
        return (await self._read()).log_entries.index((LeafKind.RECEIPT, receipt))

    async def close_batch(self, salt: bytes) -> bool:
        """Append an entry to the log that covers the events which no batch covers."""
        disk = self._disk

        def work() -> bool:
            latest = disk.log_batches.get(max(disk.log_batches, default=-1))
            first, last = (latest[1] if latest else 0) + 1, len(disk.events)
            if last < first:
                return False
            disk.log_batches[len(disk.log_entries)] = (first, last, salt)
            disk.log_entries.append((LeafKind.BATCH, last))
            return True

        return await self._write(work)

    async def fold_log(self, work: Callable[[ReadNodes], T]) -> T:
        """Run a pure function that reads nodes of the log."""
        nodes = (await self._read()).log_nodes
        return work(lambda wanted: [nodes[stored_place(node)] for node in wanted])

    async def advance_log(
        self,
        *,
        expected: LogHead | None,
        hashes: Sequence[bytes],
        to: LogHead,
        leaves: Mapping[int, bytes],
    ) -> None:
        """Append nodes of the log with the head that covers them, by compare-and-set."""
        disk = self._disk

        def work() -> None:
            latest = disk.log_heads.get(max(disk.log_heads, default=0))
            if latest != expected:
                raise StaleLog("another head came first")
            if len(disk.log_nodes) + len(hashes) != stored_count(to.size):
                raise ValueError("not the nodes of so many entries")
            if to.size > len(disk.log_entries) or (latest and to.size <= latest.size):
                raise ValueError("heads grow, and cover entries that are there")
            new = [*enumerate(disk.log_entries)][latest.size if latest else 0 : to.size]
            if {index for index, (kind, _) in new if kind is not LeafKind.RECEIPT} != set(leaves):
                raise ValueError("not the leaves of the new entries")
            disk.log_leaves.update(leaves)
            disk.log_nodes.extend(hashes)
            disk.log_heads[to.size] = to

        await self._write(work)

    async def add_cosignature(self, size: int, cosignature: Cosignature) -> None:
        """Keep a witness's cosignature of the head of a size."""
        disk = self._disk

        def work() -> None:
            if size not in disk.log_heads:
                raise ValueError("a head is there before it is cosigned")
            disk.cosignatures.setdefault((size, cosignature.witness), cosignature)

        await self._write(work)

    async def cosignatures(self, size: int) -> Sequence[Cosignature]:
        """Read the cosignatures of the head of a size, by key id."""
        kept = sorted((await self._read()).cosignatures.items())
        return [each for (at, _), each in kept if at == size]

    async def cosigned_size(self, witness: Sha256) -> int:
        """Give the largest size that a key cosigned; 0 where it cosigned none."""
        kept = (await self._read()).cosignatures
        return max((size for size, by in kept if by == witness), default=0)

    async def witnessed_head(self, witnesses: Sequence[Sha256], quorum: int) -> LogHead | None:
        """Read the latest head that at least so many of these keys cosigned, if there is one."""
        disk = await self._read()
        counts = Counter(size for size, by in disk.cosignatures if by in witnesses)
        return max(
            (disk.log_heads[size] for size, count in counts.items() if count >= quorum),
            key=lambda head: head.size,
            default=None,
        )

    async def list_receipts(
        self, *, after: int, limit: int, agent: AgentId | None = None
    ) -> Sequence[StoredReceipt]:
        """List receipts by sequence, strictly after one, of one agent's calls or of all."""
        disk = await self._read()
        return [
            receipt
            for receipt in disk.receipts[after:]
            if agent in (None, disk.calls[receipt.call].agent)
        ][:limit]

    async def events(
        self, *, after: int, limit: int, call: CallId | None = None
    ) -> Sequence[Event]:
        """List events by sequence, strictly after one."""
        disk = await self._read()
        events = disk.events[after:] if call is None else disk.events_of.get(call, [])
        return [event for event in events if event.sequence > after][:limit]

    async def pseudonym(self, person: str, fresh: Pseudonym) -> Pseudonym:
        """Give the person's pseudonym."""
        disk = await self._read()
        if person in disk.people:
            return disk.people[person]
        return await self._write(lambda: self._name(person, fresh))

    def _name(self, person: str, fresh: Pseudonym) -> Pseudonym:
        people = self._disk.people
        if person not in people and fresh in people.values():
            raise ValueError("another person's pseudonym")
        return people.setdefault(person, fresh)

    async def close(self) -> None:
        """Let go of the disk, where it was not lost to a later life by a crash."""
        if not self._is_closed and self._epoch == self._disk.epoch:
            self._disk.is_owned = False
            assert not self._disk.violations, self._disk.violations
            history.check_sequences(self._disk.events, self._disk.receipts)
        self._is_closed = True

    async def _read(self) -> MemoryDisk:
        self._refuse_if_lost()
        await asyncio.sleep(0)
        if self._disk.is_blind:
            self._disk.is_blind = False
            raise StoreUnavailable("the read failed")
        return self._disk

    async def _write(self, work: Callable[[], T]) -> T:
        self._refuse_if_lost()
        # The real store takes time here, in which others go on.
        await asyncio.sleep(0)
        self._refuse_if_lost()
        self._disk.writes += 1
        fault = self._disk.faults.pop(self._disk.writes, None)
        self._disk.is_blind = self._disk.blinding and fault is not None
        if fault is Fault.BEFORE:
            raise StoreUnavailable(fault.value)
        try:
            answer = work()
        except AssertionError as error:
            self._disk.violations.append(str(error))
            raise
        if fault is Fault.AFTER:
            raise StoreUnavailable(fault.value)
        return answer

    def _refuse_if_lost(self) -> None:
        if self._is_closed or not self._disk.is_owned or self._epoch != self._disk.epoch:
            raise StoreUnavailable("the store is closed: the broker is stopping")

    @staticmethod
    def _check_shape(change: Change) -> None:
        call, workspace = change.call, change.workspace
        if call.version < 1 or not change.events:
            raise ValueError("no version or no event")
        if (change.receipt is not None) != call.state.is_final:
            raise ValueError("a receipt if and only if the state is final")
        if workspace is not None and (workspace.agent, workspace.session_id) != (
            call.agent,
            call.session_id,
        ):
            raise ValueError("another session's workspace")

    def _commit(self, change: Change) -> StoredReceipt | None:
        """Check all that can be refused, then write: so nothing is ever to be undone."""
        call = change.call
        stored = self._disk.calls.get(call.id)
        if call.version != (stored.version if stored else 0) + 1:
            raise StaleCall(f"{call.name} was changed before")
        self._check_steps(stored, change)
        if stored is None:
            self._check_names(call)
        self._check_premises(change)
        sealed = None if change.receipt is None else self._seal_next(change, change.receipt)
        self._persist(change, sealed)
        history.check_call(
            self._disk.calls[call.id],
            self._disk.events_of[call.id],
            self._disk.receipt_of.get(call.id),
        )
        return sealed

    @staticmethod
    def _check_steps(stored: Call | None, change: Change) -> None:
        call = change.call
        state: CallState | None = None if stored is None else stored.state
        for event in change.events:
            state = after(state, Step(event.type))
        if state is not call.state:
            raise ValueError("the events do not lead to the call's state")
        if stored is not None and (
            (stored.short_id, stored.agent, stored.session_id, stored.request_id)
            != (call.short_id, call.agent, call.session_id, call.request_id)
        ):
            raise ValueError("a call keeps its names for life")

    def _check_names(self, call: Call) -> None:
        if (call.agent, call.request_id) in self._disk.requests:
            raise DuplicateRequest("this request_id is recorded")
        if call.short_id in self._disk.short_ids:
            raise ShortIdTaken("draw another")

    def _check_premises(self, change: Change) -> None:
        for name, value in change.premises:
            if self._disk.premises.get(name) != value:
                raise PremiseChanged(name)
        if change.starts and not self._is_clock_trusted():
            raise PremiseChanged(CLOCK_PREMISE)
        if change.starts and self._now() >= change.call.start_by:
            raise PremiseChanged(START_BY_PREMISE)
        if change.starts and halted_by(self._disk.halts.values(), change.call):
            raise PremiseChanged(HALTS_PREMISE)
        if change.starts and change.call.evaluations[-1].label_version != len(
            self._disk.labels.get(change.call.agent, ())
        ):
            raise PremiseChanged(LABELS_PREMISE)
        moved = change.workspace
        if moved is not None:
            tree = self._disk.workspaces.get((moved.agent, moved.session_id))
            if tree != moved.expected_sha256:
                raise PremiseChanged("workspace")
        if change.most_file_bytes is not None:
            self._check_quota(change, change.most_file_bytes)

    def _check_quota(self, change: Change, most_bytes: int) -> None:
        agent = change.call.agent
        files = {file.sha256: file.data for file in change.files}
        added = [len(files[name]) for name in files if (agent, name) not in self._disk.files]
        if added and self._file_bytes(agent) + sum(added) > most_bytes:
            raise QuotaSpent("over the quota")

    def _seal_next(self, change: Change, draft: ReceiptDraft) -> StoredReceipt:
        receipts, call = self._disk.receipts, change.call.id
        own = [event for event in change.events if kind_of(event.type) is not None]
        position = Position(
            installation=self._disk.installation,
            epoch=self._epoch,
            sequence=len(receipts) + 1,
            previous=sha256_hex(receipts[-1].envelope) if receipts else Sha256("0" * 64),
            # The change's last event, which is not written yet, is the one that ends the call.
            index=len(self._disk.log_entries) + len(own) - 1,
        )
        envelope = self._seal(draft, position)
        return StoredReceipt(
            sequence=position.sequence, call=call, envelope=envelope, at=self._now()
        )

    def _persist(self, change: Change, sealed: StoredReceipt | None) -> None:
        disk, call = self._disk, change.call
        disk.calls[call.id] = call
        disk.short_ids[call.short_id] = call.id
        if change.starts and call.labels:
            disk.labels[call.agent] = disk.labels.get(call.agent, frozenset()) | call.labels
        if call.request_id:
            disk.requests[call.agent, call.request_id] = call.id
        for document in change.documents:
            disk.documents.setdefault(document.sha256, document)
        for file in change.files:
            assert sha256_hex(file.data) == file.sha256, "a file's name is its digest"
            disk.files.setdefault((call.agent, file.sha256), file.data)
            disk.expiries.pop((call.agent, file.sha256), None)
        if change.workspace is not None:
            moved = change.workspace
            disk.workspaces[moved.agent, moved.session_id] = moved.tree_sha256
        for event in (*change.notes, *change.events):
            self._append(event, call)
        if sealed is not None:
            assert call.id not in disk.receipt_of, f"{call.name} has a receipt already"
            disk.receipts.append(sealed)
            disk.receipt_of[call.id] = sealed

    def _append(self, draft: EventDraft, call: Call | None = None) -> None:
        event = Event(
            sequence=len(self._disk.events) + 1,
            at=draft.at,
            epoch=self._epoch,
            type=draft.type,
            call=call.id if call else None,
            agent=call.agent if call else None,
            data=draft.data,
        )
        self._disk.events.append(event)
        if kind := kind_of(event.type):
            receipts = len(self._disk.receipts)
            reference = receipts + 1 if kind is LeafKind.RECEIPT else event.sequence
            self._disk.log_entries.append((kind, reference))
        if call is not None:
            self._disk.events_of.setdefault(call.id, []).append(event)
