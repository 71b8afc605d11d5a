"""Run one queued call: container, point of no return, end."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from functools import partial

from broker.core.call import Call, Cause, Run
from broker.core.document import Document
from broker.core.halt import Scope
from broker.core.ids import AgentId, CallId
from broker.core.lifecycle import CallState, Step, after
from broker.core.sandbox import Job
from broker.core.toolbox import BoundTool
from broker.errors import (
    PremiseChanged,
    RuntimeMissing,
    SandboxError,
    SecretUnavailable,
    StoreUnavailable,
)
from broker.finish import Ran, deny, end_run, expire, finish
from broker.job import job_of, profile_of
from broker.ports import Sandbox
from broker.release import judge_again
from broker.slots import Slots
from broker.tasks import Tasks
from broker.world import World

BUNDLE_PREMISE = "policy.bundle"
_STARTS = 3
_TURNS = 10
_STORE_RETRY = timedelta(seconds=1)


class Runs:
    """Take queued calls into sandboxes, each at most once. Used from one event loop.

    Args:
        tasks: Keeps what goes on when a run is over.
    """

    def __init__(self, world: World, tasks: Tasks) -> None:
        self._world = world
        self._tasks = tasks
        self._slots = Slots(world.settings.max_running)
        self._sandboxes: dict[CallId, tuple[Call, Sandbox]] = {}
        self.is_stopping = False

    @property
    def running(self) -> int:
        """Count the calls that are in a sandbox."""
        return len(self._sandboxes)

    async def place(self, agent: AgentId) -> None:
        """Wait for a free slot; `run` gives it back."""
        await self._slots.acquire(agent)

    async def run(self, call: Call, *, decided_here: bool) -> None:
        """Carry a queued call that has a slot to its signed receipt.

        Returns with the call ended, held anew, or queued as it was where it may not start now.
        From the first check on a halt either is seen here, or finds the container in `covered`.

        Args:
            decided_here: Whether policy was asked in this life of the broker.
        """
        sandbox = None
        try:
            if self._world.halts.over(call) is None and (load := await self._collect(call)):
                tool, job = load
                sandbox = await self._prepare(call, tool)
                if sandbox is not None:
                    await self._run(call, job, sandbox, decided_here)
        except Exception:
            if sandbox is not None:
                await sandbox.discard()
            raise
        finally:
            self._sandboxes.pop(call.id, None)
            # A slot counts a container: it is free when that is gone, which no answer waits for.
            self._tasks.start(self._give_back(call.agent, sandbox))

    async def kill(self, call: CallId, cause: Cause) -> None:
        """End everything in a call's container now, where it has one."""
        if begun := self._sandboxes.get(call):
            await begun[1].kill(cause)

    async def cut_off(self) -> None:
        """End everything that runs, as the broker stops."""
        begun = [sandbox for _, sandbox in self._sandboxes.values()]
        await asyncio.gather(*(sandbox.kill(Cause.BROKER_STOPPED) for sandbox in begun))

    def covered(self, scope: Scope) -> list[Sandbox]:
        """List the containers of calls in a scope, those that are just being bound included."""
        return [sandbox for call, sandbox in self._sandboxes.values() if scope.covers_call(call)]

    async def _collect(self, call: Call) -> tuple[BoundTool, Job] | None:
        """Read what goes into a container; end the call whose tool or secrets are not there."""
        world = self._world
        tool = world.toolbox.find(f"{call.tool}@{call.tool_version}")
        if tool is None or (tool.image, tool.sha256) != (call.image, call.tool_sha256):
            message = "the tool, or its image, is not the one that was decided on: call again"
            await deny(world, call, "broker.tool_changed", message)
            return None
        try:
            return tool, await job_of(world, tool.tool, call)
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

    async def _run(self, queued: Call, job: Job, sandbox: Sandbox, decided_here: bool) -> None:
        """Go over the point of no return, to the signed receipt."""
        world = self._world
        call = await self._start(queued.id, sandbox, decided_here)
        if call is None:
            return
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

    async def _start(self, call_id: CallId, sandbox: Sandbox, decided_here: bool) -> Call | None:
        """Bind the call to its container, durably, if all that it rests on still holds.

        Returns None where the call may not start: it was ended, held anew, or is halted.
        """
        world = self._world
        call = None
        for _ in range(_STARTS):
            if self.is_stopping:
                return None
            call = await world.ledger.get(call_id)
            if call is None or call.state is not CallState.QUEUED or await expire(world, call):
                return None
            if not world.clock.is_trusted or world.halts.over(call):
                return None
            documents: tuple[Document, ...] = ()
            if self._must_ask_again(call, decided_here):
                judgement = await judge_again(world, call)
                # Policy may take longer than the call has left.
                if judgement is None or await expire(world, call):
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
            # Nothing waits between this look and the registration, so no halt falls in between.
            if world.halts.over(call):
                return None
            self._sandboxes[call_id] = call, sandbox
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

    def _must_ask_again(self, call: Call, decided_here: bool) -> bool:
        """Tell whether people, a restart or a new bundle came between decision and start."""
        fresh = call.hold is None and decided_here
        return not fresh or call.evaluations[-1].bundle_sha256 != self._world.judge.bundle_sha256

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

    async def _give_back(self, agent: AgentId, sandbox: Sandbox | None) -> None:
        # Removing takes this process for milliseconds: who waits for the answer goes first.
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        try:
            if sandbox is not None:
                await sandbox.discard()
        finally:
            self._slots.release(agent)
