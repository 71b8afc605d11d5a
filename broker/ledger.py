"""Write each step of a call to the store, with what must be written beside it."""

from collections.abc import Sequence
from dataclasses import replace

from broker.board import Board
from broker.core.call import Call
from broker.core.canonical import JsonObject
from broker.core.document import Document
from broker.core.ids import AgentId, CallId
from broker.core.lifecycle import CallState, Step, after
from broker.core.receipt import ReceiptDraft
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


class Ledger:
    """Keep open calls at hand; make every change of a call one commit.

    Each step is an event, so that events stay the only history. Used from one event loop.
    """

    def __init__(self, store: Store, board: Board, clock: Clock, telemetry: Telemetry) -> None:
        self._store = store
        self._board = board
        self._clock = clock
        self._telemetry = telemetry
        self._open: dict[CallId, Call] = {}
        self._tasks = Tasks()

    async def record(
        self,
        call: Call,
        steps: Sequence[tuple[Step, JsonObject]],
        *,
        documents: Sequence[Document] = (),
        files: Sequence[File] = (),
        receipt: ReceiptDraft | None = None,
        premises: Sequence[tuple[str, str]] = (),
        workspace: WorkspaceUpdate | None = None,
    ) -> tuple[Call, StoredReceipt | None]:
        """Commit steps of a call.

        A caller that is cancelled meanwhile leaves the commit to end: what is in the store then
        stands here too.

        Args:
            call: The call as it shall stand, but with the version it was read at (0 when new).
            steps: What happened, each with its event's data.

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
            receipt=receipt,
            premises=tuple(premises),
            workspace=workspace,
        )
        commit = self._commit(change, [step for step, _ in steps])
        return written, await self._tasks.detached(commit)

    async def _commit(self, change: Change, steps: Sequence[Step]) -> StoredReceipt | None:
        sealed = await self._store.commit(change)
        self._remember(change.call)
        for step in steps:
            self._telemetry.stepped(change.call, step)
        self._board.publish(change.call.id)
        return sealed

    def restore(self, calls: Sequence[Call]) -> None:
        """Take up the open calls that the store holds, at start."""
        for call in calls:
            self._remember(call)

    async def get(self, call: CallId) -> Call | None:
        """Read a call, from memory while it is open."""
        return self._open.get(call) or await self._store.get_call(call)

    def state(self, call: CallId) -> CallState | None:
        """Give the state of an open call; None for one that has ended, or never was."""
        known = self._open.get(call)
        return known.state if known else None

    def open_calls(self, agent: AgentId | None = None) -> list[Call]:
        """List open calls, oldest first."""
        return [call for call in self._open.values() if agent is None or call.agent == agent]

    def _remember(self, call: Call) -> None:
        if call.state.is_final:
            self._open.pop(call.id, None)
        else:
            self._open[call.id] = call


def advance(call: Call, *steps: Step) -> Call:
    """Move a call along the table of its life, in memory.

    Raises:
        WrongState: The table has no such step.
    """
    state = call.state
    for step in steps:
        state = after(state, step)
    return replace(call, state=state)
