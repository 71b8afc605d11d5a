"""Tell the story of a call: admit -> decide -> hold? -> run -> sign -> answer.

Reading order is the order of a call (contract §6). `admit` takes it from the wire to its first
durable commit: denied, held or queued; begun already where slot and container were at hand.
`resume` is the one path from there to the end, whether the call was allowed, approved, or found
after a crash. Between the two stands nothing but the store: what `resume` needs it reads from the
record. `broker.run` tells the part that has a container.
"""

import asyncio
from datetime import timedelta

from broker.answer import Answer, read_answer
from broker.board import EVERY_CALL
from broker.core.call import Call, Cause
from broker.core.identity import Identity
from broker.core.ids import AgentId, CallId
from broker.core.lifecycle import CallState, Step
from broker.core.order import Order, Wish, read_wish
from broker.decide import decide, record_new
from broker.errors import (
    ClockUntrusted,
    DuplicateRequest,
    FailedPrecondition,
    NotFound,
    RequestIdReused,
    SandboxError,
    StaleCall,
    StoreUnavailable,
    Unavailable,
)
from broker.finish import expire, finish
from broker.run import Runs
from broker.tasks import Tasks, first
from broker.world import World

_CANCELS = 8
_STORE_RETRY = timedelta(seconds=1)
_CLOCK_RETRY = timedelta(seconds=1)
# A kill, the Engine's word on it, a commit.
_CUT_OFF = timedelta(seconds=10)
_SWEEP_EVERY = timedelta(seconds=30)
# A call that named an upload in time may not be in the record yet.
_BEING_RECORDED = timedelta(minutes=10)


class Executor:
    """Take calls from wish to receipt. Used from one event loop."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._decided_here: set[CallId] = set()
        self._tasks = Tasks()
        self._runs = Runs(world, self._tasks)

    # --- admit: from the wire to the first durable commit ---------------------------------

    async def admit(self, caller: Identity, wish: Wish) -> Answer:
        """Record and decide a wish; returns with the call denied, held, queued or begun, durably.

        Raises:
            ResourceExhausted: Over a rate or a limit; nothing was stored.
            InvalidArgument: The wish is malformed; nothing was stored.
            RequestIdReused: This request_id stands for another request.
            NotFound: It names a call or a file that is not the caller's own.
            Unavailable: The broker takes no calls now; nothing was stored.
        """
        world = self._world
        size_bytes = len(wish.arguments_json)
        world.admission.admit_request(caller.id, world.clock.monotonic_s(), size_bytes)
        order = read_wish(wish, world.toolbox, world.settings.caps)
        try:
            if known := await self._reattach(caller, order):
                return known
            world.gate.check()
            await self._check_parent(caller, order)
            return await self._record(caller, order)
        except StoreUnavailable as error:
            raise Unavailable(f"the store takes no calls now: {error.message}") from error

    async def _reattach(self, caller: Identity, order: Order) -> Answer | None:
        """Find the call that this request_id stands for already."""
        request_id = order.wish.request_id
        if not request_id:
            return None
        call = await self._world.store.find_by_request_id(caller.id, request_id)
        if call is None:
            return None
        answer = await read_answer(self._world.store, call)
        if answer.request != order.request_body(caller.id):
            raise RequestIdReused(
                f"request_id {request_id!r} stands for another request of yours: draw a new one"
            )
        return answer

    async def _check_parent(self, caller: Identity, order: Order) -> None:
        parent = await self._world.ledger.get(order.parent) if order.parent else None
        if order.parent and (parent is None or parent.agent != caller.id):
            raise NotFound(f"parent_call: {order.wish.parent_call} is no call of yours")

    async def _record(self, caller: Identity, order: Order) -> Answer:
        world = self._world
        world.admission.check_open(caller.id)
        call_id = world.draw_call_id()
        # Reserved before the first wait: calls that come at once count each other.
        world.admission.reserve(caller.id, call_id)
        try:
            new = await decide(world, caller, order, call_id)
            answer = await self._runs.begin_at_once(new) or await record_new(world, new)
        except DuplicateRequest:
            # The same request came twice at once; the record of the first stands for both.
            if again := await self._reattach(caller, order):
                return again
            raise Unavailable("this request is just being recorded: retry") from None
        except StoreUnavailable:
            # Should it stand in the record all the same, it is carried on like any other.
            self._tasks.start(self.resume(call_id))
            raise
        finally:
            self._settle(caller.id, call_id)
        if not answer.call.state.is_final:
            self._decided_here.add(call_id)
            self._tasks.start(self.resume(call_id))
        return answer

    # --- resume: the one path from the record to the end ----------------------------------

    async def resume(self, call_id: CallId) -> None:
        """Carry an open call to its end: after allow, after approval, after a crash.

        Each turn reads the call anew, does what its state asks for, writes by compare-and-set.
        Whoever loses a race (against a vote, a cancellation, a clock) reads again.
        """
        world = self._world
        with world.board.listen(call_id) as bell:
            while True:
                bell.clear()
                try:
                    call = await world.ledger.get(call_id)
                    if call is None or call.state.is_final:
                        break
                    self._settle(call.agent, call_id)
                    await self._next(call, bell)
                except StaleCall:
                    continue
                except StoreUnavailable as error:
                    world.telemetry.alarm("a call waits for the store", error)
                    await world.clock.sleep_until(world.clock.now() + _STORE_RETRY)
                except Exception as error:
                    # The edge of a task that nobody awaits: a fault of ours must not lose a call.
                    # The next turn reads the record; what had begun ends INTERRUPTED.
                    world.telemetry.alarm("a call met a fault of the broker", error)
                    await world.clock.sleep_until(world.clock.now() + _STORE_RETRY)
        self._decided_here.discard(call_id)
        if call is not None:
            self._settle(call.agent, call_id)

    async def _next(self, call: Call, bell: asyncio.Event) -> None:
        clock = self._world.clock
        if call.state is not CallState.RUNNING and not clock.is_trusted:
            # By a clock that is wrong nothing expires and nothing begins: the call waits.
            await first(bell.wait(), clock.sleep_until(clock.now() + _CLOCK_RETRY))
            return
        match call.state:
            case CallState.HELD:
                await self._wait_for_people(call, bell)
            case CallState.QUEUED:
                await self._wait_for_slot(call, bell)
            case _ if self._runs.has_begun(call.id):
                await self._runs.go_on(call)
            case _:
                # RUNNING without its container: its end is unknown, it is never run again.
                await finish(self._world, call, Step.INTERRUPT, Cause.BROKER_RESTARTED)

    async def _wait_for_people(self, call: Call, bell: asyncio.Event) -> None:
        assert call.hold is not None
        if self._world.clock.now() >= call.hold.decide_by:
            await finish(self._world, call, Step.EXPIRE, Cause.DECIDE_BY_PASSED)
        else:
            await first(bell.wait(), self._world.clock.sleep_until(call.hold.decide_by))

    async def _wait_for_slot(self, call: Call, bell: asyncio.Event) -> None:
        if await expire(self._world, call):
            return
        until = self._world.clock.sleep_until(call.start_by)
        if self._world.halts.over(call):
            # Whoever lifts the halt rings; until then its clock runs on.
            await first(bell.wait(), until)
            return
        acquired, *_ = await first(self._runs.place(call.agent), bell.wait(), until)
        if not acquired:
            return
        if self._runs.is_stopping:
            # Left to the next life: begun now, it could be cut off before its end.
            await asyncio.Event().wait()
        await self._runs.begin(call, decided_here=call.id in self._decided_here)

    # --- from outside: cancel, recover, stop ----------------------------------------------

    async def cancel(self, call: Call) -> Call:
        """Cancel a call at its agent's wish, before or during its run.

        Raises:
            FailedPrecondition: It has ended already.
            Unavailable: It changed with each try.
            StoreUnavailable: The store takes no cancellation now.
        """
        for _ in range(_CANCELS):
            if call.state.is_final:
                raise FailedPrecondition(
                    f"{call.name} is {call.state.value} already: there is nothing to cancel",
                    subject=call.name,
                    reason="CALL_ENDED",
                )
            try:
                if call.state is CallState.RUNNING:
                    await self._runs.kill(call.id, Cause.CANCELLED)
                    return call
                return await finish(self._world, call, Step.CANCEL, Cause.CANCELLED)
            except StaleCall:
                call = await self._world.ledger.reread(call)
            if call.state is CallState.CANCELLED:
                return call
        raise Unavailable("the call keeps changing: retry")

    async def recover(self) -> int:
        """Take up every open call of an earlier life; returns how many.

        Its containers are swept first: no receipt while a process of the call lives.

        Raises:
            SandboxError: The Engine does not answer, so nothing can be said of begun calls.
        """
        world = self._world
        await world.sandboxes.sweep()
        calls = await world.store.open_calls()
        world.ledger.restore(calls)
        for call in calls:
            self._tasks.start(self.resume(call.id))
        if not world.clock.is_trusted:
            world.telemetry.alarm("calls wait for the clock", ClockUntrusted())
        self._tasks.start(self._sweep_now_and_then())
        return len(calls)

    async def _sweep_now_and_then(self) -> None:
        """Clear away expired files, and containers that resisted or came late, for ever.

        An Engine may have been gone when they were to be removed. A clock that is not trusted
        expires no file; each turn says that it is not.
        """
        world = self._world
        while True:
            await world.clock.sleep_until(world.clock.now() + _SWEEP_EVERY)
            if not world.clock.is_trusted:
                world.telemetry.alarm("calls wait for the clock", ClockUntrusted())
            else:
                await self._drop_expired_files()
            try:
                await world.sandboxes.sweep()
            except SandboxError as error:
                world.telemetry.alarm("containers wait to be removed", error)

    async def _drop_expired_files(self) -> None:
        world = self._world
        try:
            await world.store.drop_expired_files(world.clock.now() - _BEING_RECORDED)
        except StoreUnavailable as error:
            world.telemetry.alarm("expired uploads wait to be removed", error)

    @property
    def runs(self) -> Runs:
        """Give what is in a container, to be reached by a halt."""
        return self._runs

    @property
    def running(self) -> int:
        """Count the calls that are in a sandbox."""
        return self._runs.running

    async def stop(self, within: timedelta) -> None:
        """Let running calls end within a time, then end them; the next life takes up the others."""
        world = self._world
        world.gate.draining = self._runs.is_stopping = True
        await self._until_none_runs(within)
        if self.running:
            # Here rather than by the next life: who waits hears of it, with a receipt.
            await self._runs.cut_off()
            await self._until_none_runs(_CUT_OFF)
        await self._tasks.cancel()

    async def _until_none_runs(self, within: timedelta) -> None:
        world = self._world
        until = world.clock.now() + within
        with world.board.listen(EVERY_CALL) as bell:
            while self.running and world.clock.now() < until:
                bell.clear()
                await first(bell.wait(), world.clock.sleep_until(until))

    def _settle(self, agent: AgentId, call_id: CallId) -> None:
        state = self._world.ledger.state(call_id)
        self._world.admission.settle(
            agent, call_id, is_open=state is not None, is_held=state is CallState.HELD
        )
