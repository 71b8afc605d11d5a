"""Read the record for those who may."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from broker.answer import Answer, read_answer
from broker.board import EVERY_CALL, Written
from broker.core.call import Call
from broker.core.document import Document
from broker.core.identity import Identity, Role
from broker.core.ids import CROCKFORD, AgentId, CallId, is_call_id
from broker.core.lifecycle import CallState
from broker.core.output import Place
from broker.errors import InvalidArgument, NotFound
from broker.ports import CallFilter, Store, StoredReceipt
from broker.tasks import first
from broker.turns import Turns
from broker.watch import Happened, Wrote, watch
from broker.world import World

_SHORT_ID = 8
_PREFIX = 4
_FOREVER = timedelta(days=366)
_FINAL = frozenset(state for state in CallState if state.is_final)
_WAITING = frozenset({CallState.HELD, CallState.QUEUED})
_ALIASES = str.maketrans({"O": "0", "I": "1", "L": "1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A held call with the view that people judge."""

    call: Call
    view: Document


class Reader:
    """Answer questions about calls. What the asker may not see answers as if it did not exist."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.turns = Turns()
        """To be taken by whoever reads content for somebody."""

    async def find(self, reader: Identity, reference: str, *, whole: bool = False) -> Call:
        """Find a call by its name, ULID, short id or the beginning of one.

        Args:
            whole: A change is wanted, so a prefix is not enough.

        Raises:
            InvalidArgument: The reference has no form that names a call.
            NotFound: No such call, more than one, or none that the reader may see.
        """
        text = reference.removeprefix("calls/").upper()
        if is_call_id(text):
            found = [await self._world.ledger.get(CallId(text))]
        else:
            found = list(await self._by_short_id(reader, text, whole))
        visible = [call for call in found if call is not None and self.may_read(reader, call)]
        if len(visible) > 1:
            raise NotFound(f"call: {reference!r} begins more than one short id: send more of it")
        if not visible:
            raise NotFound(f"call: there is no call {reference!r} that you may see")
        return visible[0]

    async def _by_short_id(self, reader: Identity, text: str, whole: bool) -> Sequence[Call]:
        prefix = text.translate(_ALIASES)
        least = _SHORT_ID if whole else _PREFIX
        if not least <= len(prefix) <= _SHORT_ID or not set(prefix) <= set(CROCKFORD):
            raise InvalidArgument(
                "call",
                "send `calls/<ULID>` or the whole short id of 8 characters"
                + ("" if whole else ", or at least its first 4"),
            )
        world = self._world
        if len(prefix) == _SHORT_ID or Role.AUDITOR in reader.roles:
            return await world.store.find_by_short_id(prefix, None)
        # Searched among what the reader may see: what others' calls begin with must not matter.
        own = {call.id: call for call in await world.store.find_by_short_id(prefix, reader.id)}
        for call in self.holds(reader):
            if call.short_id.startswith(prefix):
                own[call.id] = call
        return list(own.values())

    def may_read(self, reader: Identity, call: Call) -> bool:
        """Tell whether an identity may see a call at all."""
        return (
            call.agent == reader.id
            or Role.AUDITOR in reader.roles
            or self._world.people.may_decide(call, reader)
        )

    def may_see_content(self, reader: Identity, call: Call) -> bool:
        """Tell whether an identity may see results and receipts: the agent's and auditors'."""
        return call.agent == reader.id or Role.AUDITOR in reader.roles

    @property
    def store(self) -> Store:
        """The record itself, for content that a call's result names."""
        return self._world.store

    async def answer(self, call: Call, *, content: bool = True) -> Answer:
        """Collect what is said of a call, with its result and receipt where they are wanted."""
        answer = await read_answer(self._world.store, call, content=content)
        waits = call.state in _WAITING and self._world.halts.over(call) is not None
        return replace(answer, is_halted=True) if waits else answer

    async def wait(self, call: Call, within: timedelta) -> Call:
        """Wait until a call is final, or the time is over."""
        return (await self._wait_until(call, _FINAL, within))[0]

    async def wait_for_people(self, call: Call, within: timedelta) -> Call:
        """Wait while a call is held, but no longer than this."""
        return (await self._wait_until(call, set(CallState) - {CallState.HELD}, within))[0]

    async def wait_for_answer(self, admitted: Answer) -> Answer:
        """Wait until a call is final, or held; give what is said of it then.

        What was said when it was admitted, and what its end wrote, is not read again.
        """
        before = admitted.call
        call, written = await self._wait_until(before, _FINAL | {CallState.HELD}, _FOREVER)
        is_decided_anew = call.evaluations[-1] != before.evaluations[-1]
        if written is None or not call.state.is_final or is_decided_anew:
            return await self.answer(call)
        bodies = {document.sha256: document.body for document in written.documents}
        return replace(
            admitted,
            call=call,
            result=bodies[call.result_sha256] if call.result_sha256 else None,
            receipt=written.receipt.envelope if written.receipt else None,
        )

    async def _wait_until(
        self, call: Call, enough: Collection[CallState], within: timedelta
    ) -> tuple[Call, Written | None]:
        world = self._world
        until = world.clock.now() + within
        with world.board.listen(call.id) as bell:
            while True:
                bell.clear()
                # Taken first: a change while the record is read rings again.
                written = bell.written
                fresh = written.call if written else await world.ledger.reread(call)
                if fresh.state in enough or world.clock.now() >= until:
                    return fresh, written
                await first(bell.wait(), world.clock.sleep_until(until))

    def watch(
        self, reader: Identity, call: Call, *, after: int, place: Place, events_only: bool
    ) -> AsyncIterator[Happened | Wrote]:
        """Follow a call that the reader may read: output only where they may see its content."""
        with_output = not events_only and self.may_see_content(reader, call)
        turn = self.turns.of(reader.id)
        return watch(self._world, call, turn, after=after, place=place, with_output=with_output)

    async def list_calls(
        self, wanted: CallFilter, *, limit: int, before: CallId | None
    ) -> Sequence[Call]:
        """List calls, newest first; the caller has set `wanted.agent` to what it may see."""
        return await self._world.store.list_calls(wanted, limit=limit, before=before)

    def holds(self, reader: Identity) -> list[Call]:
        """List open holds that the reader may decide, oldest first."""
        return [
            call
            for call in self._world.ledger.open_calls()
            if call.state is CallState.HELD and self._world.people.may_decide(call, reader)
        ]

    async def show_hold(self, reader: Identity, reference: str) -> Shown:
        """Show a held call as it has to be judged.

        Raises:
            NotFound: No hold of this name that the reader may decide, or its view was erased.
        """
        call = await self.find(reader, reference)
        auditor = Role.AUDITOR in reader.roles
        if call.hold is None or not (auditor or self._world.people.may_decide(call, reader)):
            raise NotFound(f"call: there is no hold {reference!r} that you may decide")
        view = await self._world.store.document(call.hold.view_sha256)
        if view is None:
            raise NotFound("call: the view of this hold was erased")
        return Shown(call=call, view=view)

    async def watch_holds(self, reader: Identity) -> AsyncIterator[Call]:
        """Give open holds that the reader may decide, then each as it opens, changes, closes."""
        world = self._world
        seen: dict[CallId, Call] = {}
        with world.board.listen(EVERY_CALL) as bell:
            while True:
                bell.clear()
                now = {call.id: call for call in self.holds(reader)}
                for call_id in [known for known in seen if known not in now]:
                    closed = await world.ledger.get(call_id)
                    del seen[call_id]
                    if closed is not None:
                        yield closed
                for call_id, call in now.items():
                    if seen.get(call_id) != call:
                        seen[call_id] = call
                        yield call
                await bell.wait()

    async def receipt(self, call: Call) -> tuple[StoredReceipt, Document | None, Document | None]:
        """Give a call's receipt with its request and result documents.

        Raises:
            NotFound: The call has not ended, so it has no receipt yet.
        """
        receipt, store = await self.receipt_alone(call), self._world.store
        result = await store.document(call.result_sha256) if call.result_sha256 else None
        return receipt, await store.document(call.request_sha256), result

    async def receipt_alone(self, call: Call) -> StoredReceipt:
        """Give a call's receipt; as `receipt`."""
        receipt = await self._world.store.receipt(call.id)
        if receipt is None:
            raise NotFound(
                f"{call.name} is {call.state.value}: a receipt comes with the end, WaitCall waits"
            )
        return receipt

    async def receipts(
        self, agent: AgentId | None, *, after: int, limit: int
    ) -> Sequence[StoredReceipt]:
        """List receipts by sequence, of one agent's calls or of all."""
        return await self._world.store.list_receipts(after=after, limit=limit, agent=agent)
