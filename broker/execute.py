"""Tell the story of a call: admit -> decide -> hold? -> run -> sign -> answer.

Reading order is the order of a call (contract §6). `admit` takes it from the wire to its first
durable commit: denied, held or queued. `resume` is the one path from there to the end, whether the
call was allowed, approved, or found after a crash. Between the two stands nothing but the store:
what `resume` needs it reads from the record.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from functools import partial

from broker.answer import Answer, read_answer
from broker.board import EVERY_CALL
from broker.core.call import Call, Cause, Run
from broker.core.document import Document
from broker.core.identity import Identity
from broker.core.ids import AgentId, CallId
from broker.core.lifecycle import CallState, Step, after
from broker.core.order import Order, Wish, read_wish
from broker.decide import record_and_decide
from broker.errors import (
    ClockUntrusted,
    DuplicateRequest,
    FailedPrecondition,
    NotFound,
    PremiseChanged,
    RequestIdReused,
    RuntimeMissing,
    SandboxError,
    StaleCall,
    StoreUnavailable,
    Unavailable,
)
from broker.finish import Ran, deny, end_run, finish
from broker.job import job_of, profile_of
from broker.ports import Sandbox
from broker.release import judge_again
from broker.slots import Slots
from broker.tasks import Tasks, first
from broker.world import World

BUNDLE_PREMISE = "policy.bundle"
_STARTS = 3
_CANCELS = 8
_STORE_RETRY = timedelta(seconds=1)
_CLOCK_RETRY = timedelta(seconds=1)
_SWEEP_EVERY = timedelta(seconds=30)


class Executor:
    """Take calls from wish to receipt. Used from one event loop."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._slots = Slots(world.settings.max_running)
        self._running: dict[CallId, Sandbox] = {}
        self._decided_here: set[CallId] = set()
        self._tasks = Tasks()
        self._is_stopping = False

    # --- admit: from the wire to the first durable commit ---------------------------------

    async def admit(self, caller: Identity, wish: Wish) -> Answer:
        """Record and decide a wish; returns with the call denied, held or queued, durably.

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
            answer = await record_and_decide(world, caller, order, call_id)
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
            case _:
                # RUNNING at the top of a turn: it began, its end is unknown, it is never run again.
                await finish(self._world, call, Step.INTERRUPT, Cause.BROKER_RESTARTED)

    async def _wait_for_people(self, call: Call, bell: asyncio.Event) -> None:
        assert call.hold is not None
        if self._world.clock.now() >= call.hold.decide_by:
            await finish(self._world, call, Step.EXPIRE, Cause.DECIDE_BY_PASSED)
        else:
            await first(bell.wait(), self._world.clock.sleep_until(call.hold.decide_by))

    async def _wait_for_slot(self, call: Call, bell: asyncio.Event) -> None:
        if await self._expired(call):
            return
        until = self._world.clock.sleep_until(call.start_by)
        acquired, *_ = await first(self._slots.acquire(call.agent), bell.wait(), until)
        if not acquired:
            return
        if self._is_stopping:
            # Left to the next life: begun now, it could be cut off before its end.
            await asyncio.Event().wait()
        sandbox = None
        try:
            sandbox = await self._prepare(call)
            if sandbox is not None:
                await self._run(call, sandbox)
        except Exception:
            if sandbox is not None:
                await sandbox.discard()
            raise
        finally:
            self._running.pop(call.id, None)
            # A slot counts a container: it is free when that is gone, which no answer waits for.
            self._tasks.start(self._give_back(call.agent, sandbox))

    async def _prepare(self, call: Call) -> Sandbox | None:
        """Start a container by the decided profile; end the call that can have none."""
        tool = self._world.toolbox.find(f"{call.tool}@{call.tool_version}")
        if tool is None or (tool.image, tool.sha256) != (call.image, call.tool_sha256):
            message = "the tool, or its image, is not the one that was decided on: call again"
            await deny(self._world, call, "broker.tool_changed", message)
            return None
        assert call.obligations is not None
        slot = self._world.entropy.random_bytes(8).hex()
        try:
            profile = profile_of(tool, call.obligations)
            return await self._world.sandboxes.prepare(profile, slot=slot)
        except SandboxError as error:
            self._world.telemetry.alarm("no sandbox could be had", error)
            missing = isinstance(error, RuntimeMissing)
            cause = Cause.RUNTIME_MISSING if missing else Cause.NOT_BEGUN
            await finish(self._world, call, Step.FAIL_TO_BEGIN, cause)
            return None

    async def _run(self, queued: Call, sandbox: Sandbox) -> None:
        """Go over the point of no return, to the signed receipt."""
        world = self._world
        job = await job_of(world, queued)
        call = await self._start(queued.id, sandbox)
        if call is None:
            return
        try:
            report = await sandbox.run(job)
        except SandboxError as error:
            world.telemetry.alarm("the sandbox took no call", error)
            ran = Ran(enforced=sandbox.enforced)
            fail = partial(finish, world, call, Step.FAIL_TO_BEGIN, Cause.NOT_BEGUN, ran=ran)
            await self._insist(fail)
            return
        await self._insist(partial(end_run, world, call, sandbox.enforced, report))

    async def _insist(self, write: Callable[[], Coroutine[object, object, object]]) -> None:
        """Write an outcome that is known here alone: it is kept until the store takes it."""
        world = self._world
        while True:
            try:
                await write()
                return
            except StoreUnavailable as error:
                world.telemetry.alarm("an outcome waits for the store", error)
                await world.clock.sleep_until(world.clock.now() + _STORE_RETRY)

    async def _start(self, call_id: CallId, sandbox: Sandbox) -> Call | None:
        """Bind the call to its container, durably, if all that it rests on still holds.

        Returns None where the call may not start: it was ended, or held anew.
        """
        world = self._world
        call = None
        for _ in range(_STARTS):
            if self._is_stopping:
                return None
            call = await world.ledger.get(call_id)
            if call is None or call.state is not CallState.QUEUED or await self._expired(call):
                return None
            if not world.clock.is_trusted:
                return None
            documents: tuple[Document, ...] = ()
            if self._must_ask_again(call):
                judgement = await judge_again(world, call)
                # Policy may take longer than the call has left.
                if judgement is None or await self._expired(call):
                    return None
                documents = judgement.documents
                call = replace(call, evaluations=(*call.evaluations, judgement.evaluation))
            run = Run(slot=sandbox.slot, boot=world.settings.boot)
            started = replace(
                call,
                state=after(call.state, Step.START),
                started_at=world.clock.now(),
                run=run,
            )
            self._running[call_id] = sandbox
            try:
                started, _ = await world.ledger.record(
                    started,
                    [(Step.START, {"slot": sandbox.slot, "sandbox": sandbox.enforced.facts})],
                    documents=documents,
                    premises=[(BUNDLE_PREMISE, call.evaluations[-1].bundle_sha256)],
                )
            except PremiseChanged:
                continue
            return started
        message = "what the call rests on kept changing while it started: call again"
        # Read anew: an evaluation that no commit took along has no documents.
        call = await world.ledger.get(call_id)
        if call is not None and call.state is CallState.QUEUED:
            await deny(world, call, "broker.unsettled", message)
        return None

    def _must_ask_again(self, call: Call) -> bool:
        """Tell whether people, a restart or a new bundle came between decision and start."""
        fresh = call.hold is None and call.id in self._decided_here
        return not fresh or call.evaluations[-1].bundle_sha256 != self._world.judge.bundle_sha256

    async def _expired(self, call: Call) -> bool:
        now = self._world.clock.now()
        run_by = call.hold.run_by if call.hold else None
        if run_by is not None and now >= run_by:
            await finish(self._world, call, Step.EXPIRE, Cause.RUN_BY_PASSED)
        elif now >= call.start_by:
            await finish(self._world, call, Step.EXPIRE, Cause.START_BY_PASSED)
        else:
            return False
        return True

    # --- from outside: cancel, recover, stop ----------------------------------------------

    async def cancel(self, call: Call) -> Call:
        """Cancel a call at its agent's wish, before or during its run.

        Raises:
            FailedPrecondition: It has ended already.
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
                    if sandbox := self._running.get(call.id):
                        await sandbox.kill(Cause.CANCELLED)
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
        self._tasks.start(self._sweep_now_and_then())
        return len(calls)

    async def _sweep_now_and_then(self) -> None:
        """Remove what could not be removed in time, or came late: an Engine may have been gone."""
        world = self._world
        while True:
            await world.clock.sleep_until(world.clock.now() + _SWEEP_EVERY)
            if not world.clock.is_trusted:
                world.telemetry.alarm("calls wait for the clock", ClockUntrusted())
            try:
                await world.sandboxes.sweep()
            except SandboxError as error:
                world.telemetry.alarm("containers wait to be removed", error)

    @property
    def running(self) -> int:
        """Count the calls that are in a sandbox."""
        return len(self._running)

    async def stop(self, within: timedelta) -> None:
        """Let running calls end within a time; others stay in the record for the next life."""
        world = self._world
        world.gate.draining = self._is_stopping = True
        until = world.clock.now() + within
        with world.board.listen(EVERY_CALL) as bell:
            while self._running and world.clock.now() < until:
                bell.clear()
                await first(bell.wait(), world.clock.sleep_until(until))
        await self._tasks.cancel()

    async def _give_back(self, agent: AgentId, sandbox: Sandbox | None) -> None:
        try:
            if sandbox is not None:
                await sandbox.discard()
        finally:
            self._slots.release(agent)

    def _settle(self, agent: AgentId, call_id: CallId) -> None:
        state = self._world.ledger.state(call_id)
        self._world.admission.settle(
            agent, call_id, is_open=state is not None, is_held=state is CallState.HELD
        )
