"""Run one allowed call: container, point of no return, end."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from broker.answer import Answer, read_request
from broker.core.call import Call, Cause, Run
from broker.core.canonical import JsonObject
from broker.core.document import Document
from broker.core.halt import Scope
from broker.core.ids import AgentId, CallId
from broker.core.lifecycle import CallState, Step, after
from broker.core.sandbox import Job
from broker.core.toolbox import BoundTool
from broker.decide import Decided, record_new
from broker.errors import (
    PremiseChanged,
    RuntimeMissing,
    SandboxError,
    SecretUnavailable,
    StoreUnavailable,
)
from broker.finish import Ran, deny, end_run, expire, finish
from broker.job import job_of, profile_of
from broker.ports import BUNDLE_PREMISE, Sandbox
from broker.release import judge_again
from broker.slots import Slots
from broker.tasks import Tasks
from broker.world import World

_STARTS = 3
# Of the event loop, of which an answer takes a few from the commit to the wire.
_TURNS = 10
_STORE_RETRY = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bound:
    """A call with the container that is bound to it, or is just being bound."""

    call: Call
    sandbox: Sandbox
    job: Job


class Runs:
    """Take queued calls into sandboxes, each at most once. Used from one event loop.

    Args:
        tasks: Keeps what goes on when a run is over.
    """

    def __init__(self, world: World, tasks: Tasks) -> None:
        self._world = world
        self._tasks = tasks
        self._slots = Slots(world.settings.max_running, world.settings.running_per_agent)
        self._bound: dict[CallId, _Bound] = {}
        self.is_stopping = False

    @property
    def running(self) -> int:
        """Count the calls that are in a sandbox."""
        return len(self._bound)

    def has_begun(self, call: CallId) -> bool:
        """Tell whether a running call's container is at hand, for `go_on`."""
        return call in self._bound

    # --- begin: over the point of no return -----------------------------------------------

    async def begin_at_once(self, new: Decided) -> Answer | None:
        """Record a new call together with its start, where it waits for nothing.

        Nothing leaves the broker between the two, so they share a commit.

        Returns None, nothing written, where the call is not allowed, no slot is free, no container
        waits for its profile, or something that it rests on has changed.

        Raises:
            StoreError: Nothing was recorded.
            Unavailable: No short id was free: nothing was recorded.
        """
        call = new.call
        if call.state is not CallState.QUEUED or not self._slots.take(call.agent):
            return None
        sandbox = None
        answer = None
        try:
            tool = self._tool(call)
            if tool is None or (sandbox := self._at_hand(call, tool)) is None:
                return None
            job = await job_of(self._world, tool.tool, call, new.request)
            answer = await self._start_new(new, sandbox, job)
        except SecretUnavailable:
            # `begin` ends the call, which is to be recorded first.
            return None
        finally:
            if answer is None:
                self._end(call, sandbox)
        return answer

    async def place(self, agent: AgentId) -> None:
        """Wait for a free slot; `begin` takes it on, or gives it back."""
        await self._slots.acquire(agent)

    async def begin(self, call: Call, *, decided_here: bool) -> None:
        """Take a queued call that has a slot over the point of no return.

        Returns with the call running, for `go_on`; ended; held anew; or queued as it was, where it
        may not start now. From the first check on a halt either is seen here, or finds the
        container in `covered`.

        Args:
            decided_here: Whether policy was asked in this life of the broker.
        """
        sandbox = None
        has_begun = False
        try:
            if self._world.halts.over(call) is None and (load := await self._collect(call)):
                tool, job = load
                sandbox = await self._prepare(call, tool)
                if sandbox is not None:
                    has_begun = await self._start(call.id, sandbox, job, decided_here)
        finally:
            if not has_begun:
                self._end(call, sandbox)

    async def go_on(self, call: Call) -> None:
        """Carry a call that has begun to its signed receipt."""
        bound = self._bound[call.id]
        try:
            await self._run(call, bound.sandbox, bound.job)
        except Exception:
            # The next turn writes a receipt: nothing of the call may live then.
            await bound.sandbox.discard()
            raise
        finally:
            self._end(call, bound.sandbox)

    # --- from outside: kill, cut off ------------------------------------------------------

    async def kill(self, call: CallId, cause: Cause) -> None:
        """End everything in a call's container now, where it has one."""
        if bound := self._bound.get(call):
            await bound.sandbox.kill(cause)

    async def cut_off(self) -> None:
        """End everything that runs, as the broker stops."""
        sandboxes = [bound.sandbox for bound in self._bound.values()]
        await asyncio.gather(*(sandbox.kill(Cause.BROKER_STOPPED) for sandbox in sandboxes))

    def covered(self, scope: Scope) -> list[Sandbox]:
        """List the containers of calls in a scope, those that are just being bound included."""
        return [bound.sandbox for bound in self._bound.values() if scope.covers_call(bound.call)]

    # --- the steps ------------------------------------------------------------------------

    def _tool(self, call: Call) -> BoundTool | None:
        """Find the tool that was decided on; None where it is not the same any more."""
        tool = self._world.toolbox.find(f"{call.tool}@{call.tool_version}")
        if tool is None or (tool.image, tool.sha256) != (call.image, call.tool_sha256):
            return None
        return tool

    def _at_hand(self, call: Call, tool: BoundTool) -> Sandbox | None:
        assert call.obligations is not None
        return self._world.sandboxes.at_hand(profile_of(tool, call.obligations))

    async def _collect(self, call: Call) -> tuple[BoundTool, Job] | None:
        """Read what goes into a container; end the call whose tool or secrets are not there."""
        world = self._world
        tool = self._tool(call)
        if tool is None:
            message = "the tool, or its image, is not the one that was decided on: call again"
            await deny(world, call, "broker.tool_changed", message)
            return None
        try:
            return tool, await job_of(world, tool.tool, call, await read_request(world.store, call))
        except SecretUnavailable as error:
            world.telemetry.alarm("a secret cannot be read", error)
            await finish(world, call, Step.FAIL_TO_BEGIN, Cause.SECRET_UNAVAILABLE)
            return None

    async def _prepare(self, call: Call, tool: BoundTool) -> Sandbox | None:
        """Start a container by the decided profile; end the call that can have none."""
        world = self._world
        assert call.obligations is not None
        try:
            profile = profile_of(tool, call.obligations)
            return await world.sandboxes.prepare(profile, slot=world.entropy.random_bytes(8).hex())
        except SandboxError as error:
            world.telemetry.alarm("no sandbox could be had", error)
            missing = isinstance(error, RuntimeMissing)
            cause = Cause.RUNTIME_MISSING if missing else Cause.NOT_BEGUN
            await finish(world, call, Step.FAIL_TO_BEGIN, cause)
            return None

    async def _start_new(self, new: Decided, sandbox: Sandbox, job: Job) -> Answer | None:
        world, call = self._world, new.call
        now = world.clock.now()
        if self.is_stopping or not world.clock.is_trusted or now >= call.start_by:
            return None
        # Nothing waits between this look and the registration, so no halt falls in between.
        if world.halts.over(call):
            return None
        self._bound[call.id] = _Bound(call=call, sandbox=sandbox, job=job)
        started, step = self._started(call, sandbox)
        begun = replace(new, call=started, steps=(*new.steps, step))
        try:
            return await record_new(world, begun, premises=_premises(call))
        except PremiseChanged:
            return None

    async def _start(self, call_id: CallId, sandbox: Sandbox, job: Job, decided_here: bool) -> bool:
        """Bind the call to its container, durably, if all that it rests on still holds.

        Returns whether it may run; if not it was ended, held anew, or is halted.
        """
        world = self._world
        for _ in range(_STARTS):
            call = await self._startable(call_id)
            if call is None:
                return False
            documents: tuple[Document, ...] = ()
            if self._must_ask_again(call, decided_here):
                judgement = await judge_again(world, call)
                # Policy may take longer than the call has left.
                if judgement is None or await expire(world, call):
                    return False
                documents = judgement.documents
                call = replace(call, evaluations=(*call.evaluations, judgement.evaluation))
            # Nothing waits between this look and the registration, so no halt falls in between.
            if world.halts.over(call):
                return False
            self._bound[call_id] = _Bound(call=call, sandbox=sandbox, job=job)
            started, step = self._started(call, sandbox)
            try:
                await world.ledger.record(
                    started, [step], documents=documents, premises=_premises(call)
                )
            except PremiseChanged:
                # Memory may have missed a label: the answer to its commit was lost.
                await world.labels.load()
                continue
            return True
        await self._deny_unsettled(call_id)
        return False

    async def _startable(self, call_id: CallId) -> Call | None:
        """Read a call anew; None where it is not queued any more, or nothing may start now."""
        world = self._world
        if self.is_stopping:
            return None
        call = await world.ledger.get(call_id)
        if call is None or call.state is not CallState.QUEUED or await expire(world, call):
            return None
        if not world.clock.is_trusted or world.halts.over(call):
            return None
        return call

    async def _deny_unsettled(self, call_id: CallId) -> None:
        message = "what the call rests on kept changing while it started: call again"
        # Read anew: an evaluation that no commit took along has no documents.
        call = await self._world.ledger.get(call_id)
        if call is not None and call.state is CallState.QUEUED:
            await deny(self._world, call, "broker.unsettled", message)

    def _started(self, call: Call, sandbox: Sandbox) -> tuple[Call, tuple[Step, JsonObject]]:
        """Give a call as it stands when it is bound to a container, with the step to that."""
        started = replace(
            call,
            state=after(call.state, Step.START),
            started_at=self._world.clock.now(),
            run=Run(slot=sandbox.slot, boot=self._world.settings.boot),
        )
        return started, (Step.START, {"slot": sandbox.slot, "sandbox": sandbox.enforced.facts})

    async def _run(self, call: Call, sandbox: Sandbox, job: Job) -> None:
        """Let the container have its job; write how that ended."""
        world = self._world
        # Until the receipt is durable: then who watches reads on in the result.
        with world.outputs.of_run(call.id, job.output_bytes) as sink:
            try:
                report = await sandbox.run(job, sink)
            except SandboxError as error:
                world.telemetry.alarm("the sandbox took no call", error)
                ran = Ran(enforced=sandbox.enforced)
                fail = partial(finish, world, call, Step.FAIL_TO_BEGIN, Cause.NOT_BEGUN, ran=ran)
                await self._insist(fail)
                return
            await self._insist(partial(end_run, world, call, sandbox.enforced, report))

    def _must_ask_again(self, call: Call, decided_here: bool) -> bool:
        """Tell whether people, a restart, a bundle or a label came between decision and start."""
        world, last = self._world, call.evaluations[-1]
        if call.hold is not None or not decided_here:
            return True
        labels = len(world.labels.of(call.agent))
        return (last.bundle_sha256, last.label_version) != (world.judge.bundle_sha256, labels)

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

    def _end(self, call: Call, sandbox: Sandbox | None) -> None:
        """Let go of what a call had, or did not come to have."""
        self._bound.pop(call.id, None)
        if sandbox is None:
            self._slots.release(call.agent)
        else:
            # A slot counts a container: it is free when that is gone, which no answer waits for.
            self._tasks.start(self._give_back(call.agent, sandbox))

    async def _give_back(self, agent: AgentId, sandbox: Sandbox) -> None:
        # Removing takes this process for milliseconds: who waits for the answer goes first.
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        try:
            await sandbox.discard()
        finally:
            self._slots.release(agent)


def _premises(call: Call) -> list[tuple[str, str]]:
    """Name what the start of a call rests on besides its own record, the halts and the labels."""
    return [(BUNDLE_PREMISE, call.evaluations[-1].bundle_sha256)]
