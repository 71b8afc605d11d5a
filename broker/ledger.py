"""Write each step of a call to the store, with what must be written beside it."""

from collections.abc import Sequence
from dataclasses import replace

from broker.board import Board, Written
from broker.core.call import Call
from broker.core.canonical import JsonObject
from broker.core.document import Document
from broker.core.ids import AgentId, CallId
from broker.core.lifecycle import CallState, Step
from broker.core.receipt import ReceiptDraft
from broker.errors import StaleCall, StoreUnavailable
from broker.labels import Labels
from broker.ports import (
    Change,
    Clock,
    EventDraft,
    File,
    Store,
    StoredReceipt,
    Telemetry,
    WorkspaceUpdate,
)
from broker.tasks import Tasks

_LABELLED = "agent.labelled"
_REMEMBERED = 256


class Ledger:
    """Keep open calls at hand; make every change of a call one commit.

    Each step is an event, so that events stay the only history. Used from one event loop.
    """

    def __init__(
        self, store: Store, labels: Labels, board: Board, clock: Clock, telemetry: Telemetry
    ) -> None:
        self._store = store
        self._labels = labels
        self._board = board
        self._clock = clock
        self._telemetry = telemetry
        self._open: dict[CallId, Call] = {}
        # The latest ended ones: they never change, and who waited for them asks at once.
        self._ended: dict[CallId, Call] = {}
        # What memory says of these may be behind the record.
        self._doubtful: set[CallId] = set()
        self._tasks = Tasks()

    async def record(
        self,
        call: Call,
        steps: Sequence[tuple[Step, JsonObject]],
        *,
        documents: Sequence[Document] = (),
        files: Sequence[File] = (),
        most_file_bytes: int | None = None,
        receipt: ReceiptDraft | None = None,
        premises: Sequence[tuple[str, str]] = (),
        workspace: WorkspaceUpdate | None = None,
        notes: Sequence[tuple[str, JsonObject]] = (),
    ) -> tuple[Call, StoredReceipt | None]:
        """Commit steps of a call; durable on return.

        A caller that is cancelled meanwhile leaves the commit to end: what is in the store then
        stands here too.

        Args:
            call: The call as it shall stand, but with the version it was read at (0 when new).
            steps: What happened, each with its event's data.
            notes: What happened besides: type with data of an event that is no step.

        Raises:
            StoreError: Nothing was written; the subclass says why.
        """
        now = self._clock.now()
        written = replace(call, version=call.version + 1)
        change = Change(
            call=written,
            events=tuple(EventDraft(type=step.value, at=now, data=data) for step, data in steps),
            documents=tuple(documents),
            files=tuple(files),
            most_file_bytes=most_file_bytes,
            receipt=receipt,
            premises=tuple(premises),
            workspace=workspace,
            notes=tuple(
                EventDraft(type=kind, at=now, data=data)
                for kind, data in (*notes, *self._labelling(call, steps))
            ),
        )
        commit = self._commit(change, [step for step, _ in steps])
        return written, await self._tasks.detached(commit)

    async def _commit(self, change: Change, steps: Sequence[Step]) -> StoredReceipt | None:
        try:
            sealed = await self._store.commit(change)
        except StaleCall:
            self._doubt(change.call.id)
            raise
        except StoreUnavailable as error:
            sealed = await self._look_up(change.call, error)
        self._remember(change.call)
        if change.starts:
            # Before anything goes into the container: so nothing of it can have come out.
            self._labels.add(change.call.agent, change.call.labels)
        self._telemetry.recorded(change.call, steps)
        written = Written(call=change.call, documents=tuple(change.documents), receipt=sealed)
        self._board.publish(change.call.id, written)
        return sealed

    def _labelling(
        self, call: Call, steps: Sequence[tuple[Step, JsonObject]]
    ) -> Sequence[tuple[str, JsonObject]]:
        """Tell what a call that starts brings its agent that this had not before."""
        if all(step is not Step.START for step, _ in steps):
            return ()
        new = sorted(call.labels - self._labels.of(call.agent))
        return [(_LABELLED, {"labels": new})] if new else ()

    async def _look_up(self, call: Call, error: StoreUnavailable) -> StoredReceipt | None:
        """Find a change in the record whose answer was lost; a change that is not there failed.

        Taken for failed it would be made again, for ever, from a version that is long gone.
        """
        self._doubt(call.id)
        if await self._store.get_call(call.id) != call:
            raise error
        return await self._store.receipt(call.id) if call.state.is_final else None

    def restore(self, calls: Sequence[Call]) -> None:
        """Take up the open calls that the store holds, at start."""
        for call in calls:
            self._remember(call)
            self._telemetry.taken_up(call)

    async def get(self, call: CallId) -> Call | None:
        """Read a call, from memory while it is open or has ended just now.

        Raises:
            StoreUnavailable: Memory may be behind, or knows nothing of it, and the record cannot be
                read.
        """
        known = self._open.get(call)
        if known is not None and call not in self._doubtful:
            return known
        if call in self._ended:
            return self._ended[call]
        stored = await self._store.get_call(call)
        latest = self._open.get(call)
        if latest is known and known is not None and stored is not None:
            self._remember(stored)
        return stored

    async def reread(self, call: Call) -> Call:
        """Read a call that was recorded, as it stands now.

        Raises:
            StoreUnavailable: The record cannot be read, or has lost the call.
        """
        fresh = await self.get(call.id)
        if fresh is None:
            raise StoreUnavailable(f"the record has lost {call.name}: was its store replaced?")
        return fresh

    def state(self, call: CallId) -> CallState | None:
        """Give the state of an open call; None for one that has ended, or never was."""
        known = self._open.get(call)
        return known.state if known else None

    def open_calls(self, agent: AgentId | None = None) -> list[Call]:
        """List open calls, oldest first."""
        return [call for call in self._open.values() if agent is None or call.agent == agent]

    def _doubt(self, call: CallId) -> None:
        """Let the next reader ask the record; who waits for the call reads again now."""
        if call in self._open:
            self._doubtful.add(call)
            self._board.publish(call)

    def _remember(self, call: Call) -> None:
        self._doubtful.discard(call.id)
        if call.state.is_final:
            self._open.pop(call.id, None)
            self._ended[call.id] = call
            if len(self._ended) > _REMEMBERED:
                del self._ended[next(iter(self._ended))]
        else:
            self._open[call.id] = call
