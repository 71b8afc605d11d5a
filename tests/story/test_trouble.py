"""What a call ends as when its sandbox, the store or its agent interferes."""

import asyncio
import contextlib
from datetime import timedelta

import pytest

from broker.core.call import Cause
from broker.core.lifecycle import CallState, Step
from broker.core.sandbox import FileChange
from broker.errors import BrokerError, SandboxError, Unavailable
from tests.ports.fake_sandbox import SLEEP, Trouble
from tests.ports.memory_store import Fault
from tests.story.stage import ALLOWED, DENIED, HELD, Stage


class TestSandbox:
    @pytest.mark.parametrize(
        ("trouble", "state"),
        [
            (Trouble.NOT_MADE, CallState.SANDBOX_ERROR),
            (Trouble.NOT_BEGUN, CallState.SANDBOX_ERROR),
            (Trouble.BROKEN, CallState.INTERRUPTED),
            (Trouble.ENGINE_LOST, CallState.INTERRUPTED),
        ],
        ids=lambda value: value.name,
    )
    async def test_trouble(self, trouble: Trouble, state: CallState) -> None:
        """What never began is SANDBOX_ERROR, what is in doubt INTERRUPTED; neither is run again."""
        stage = Stage()
        stage.host.troubles.append(trouble)
        await stage.start()
        call = await stage.call()
        await stage.pass_time(2)
        assert stage.stored(call.id).state is state
        if trouble is not Trouble.ENGINE_LOST:
            assert stage.alarms.heard != []
        await stage.check_all_ended()

    async def test_no_receipt_while_it_lives(self) -> None:
        """A bug after the tool began ends the call only when its container is gone."""
        stage = Stage()
        stage.host.troubles += [Trouble.BROKEN, Trouble.SLOW_REMOVAL]
        await stage.start()
        call = await stage.call()
        await stage.pass_time(5)
        assert (stage.stored(call.id).state, len(stage.host.containers)) == (CallState.RUNNING, 1)
        await stage.pass_time(10)
        assert stage.host.containers == {}
        await stage.pass_time(2)
        assert stage.stored(call.id).state is CallState.INTERRUPTED
        await stage.check_all_ended()

    async def test_broken_maker(self) -> None:
        """A bug while a sandbox is made is alarmed; the call, not begun, is tried again."""
        stage = Stage()
        stage.host.troubles.append(Trouble.BROKEN_MAKER)
        await stage.start()
        call = await stage.call()
        await stage.pass_time(2)
        assert stage.stored(call.id).state is CallState.SUCCEEDED
        assert stage.alarms.heard == ["a call met a fault of the broker"]
        await stage.check_all_ended()

    @pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name)
    @pytest.mark.parametrize("trouble", [Trouble.NOT_MADE, Trouble.NOT_BEGUN], ids=lambda t: t.name)
    async def test_trouble_and_store(self, trouble: Trouble, fault: Fault) -> None:
        """That a call never began is known even if the store takes it late."""
        stage = Stage()
        stage.host.troubles.append(trouble)
        await stage.start()
        ahead = 2 if trouble is Trouble.NOT_MADE else 3
        stage.disk.faults[stage.disk.writes + ahead] = fault
        call = await stage.call()
        await stage.pass_time(2)
        # Not made before anything began, the call is simply tried again.
        ends = {CallState.SANDBOX_ERROR}
        if trouble is Trouble.NOT_MADE and fault is Fault.BEFORE:
            ends = {CallState.SUCCEEDED}
        assert stage.stored(call.id).state in ends
        await stage.check_all_ended()

    async def test_engine_gone_at_start(self) -> None:
        """A broker does not start where it cannot sweep: begun calls could still be alive."""
        stage = Stage()
        stage.host.is_reachable = False
        with pytest.raises(SandboxError):
            await stage.start()

    async def test_denials_go_on(self) -> None:
        """While the engine is gone, denials are decided and sealed."""
        stage = Stage()
        await stage.start()
        stage.host.is_reachable = False
        ends = [(await stage.call(DENIED, f"r{number}")).state for number in range(3)]
        assert ends == [CallState.DENIED] * 3
        call = await stage.call()
        await stage.settle()
        assert stage.stored(call.id).state is CallState.SANDBOX_ERROR
        await stage.check_all_ended()

    async def test_leftovers_are_swept(self) -> None:
        """What a killed broker's Engine makes after the next start is removed before long."""
        stage = Stage()
        await stage.start()
        stage.host.containers["late"] = "an earlier boot"
        await stage.pass_time(60)
        assert stage.host.containers == {}


class TestStore:
    async def test_outcome_is_kept(self) -> None:
        """An outcome that the store does not take for ten seconds is not lost."""
        stage = Stage()
        await stage.start()
        stage.host.changes[b'{"content":"b","path":"a"}'] = (FileChange(path="a", data=b"b"),)
        start = stage.disk.writes + 2
        stage.disk.faults |= dict.fromkeys(range(start + 1, start + 11), Fault.BEFORE)
        call = await stage.call("workspace_write", path="a", content="b")
        for _ in range(10):
            await stage.pass_time(1)
        assert stage.stored(call.id).state is CallState.SUCCEEDED
        assert stage.alarms.heard == ["an outcome waits for the store"] * 10
        await stage.check_all_ended()

    @pytest.mark.parametrize("blinding", [False, True])
    async def test_workspace_after_a_lost_answer(self, blinding: bool) -> None:
        """A workspace that moved although the answer was lost is what the next call sees."""
        stage = Stage()
        await stage.start()
        stage.disk.blinding = blinding
        stage.host.changes[b'{"content":"b","path":"a"}'] = (FileChange(path="a", data=b"b"),)
        stage.disk.faults[stage.disk.writes + 3] = Fault.AFTER
        first = await stage.call("workspace_write", path="a", content="b")
        await stage.pass_time(2)
        second = await stage.call()
        await stage.settle()
        assert stage.stored(first.id).state is CallState.SUCCEEDED
        moved = stage.disk.workspaces[first.agent, first.session_id]
        assert stage.stored(second.id).tree_sha256 == moved

    async def test_files_that_come_at_once(self) -> None:
        """Of two runs whose files fit alone, but not together, one keeps its files."""
        stage = Stage()
        await stage.start()
        for name in ("a", "b"):
            stage.host.changes[b'{"content":"%b","path":"f"}' % name.encode()] = tuple(
                FileChange(path=f"{name}{number}", data=f"{name}{number}".encode() * 100_000)
                for number in range(3)
            )
        calls = await asyncio.gather(
            *(
                stage.call("workspace_write", session=name, path="f", content=name)
                for name in ("a", "b")
            )
        )
        await stage.pass_time(2)
        ends = {(stage.stored(call.id).state, stage.stored(call.id).cause) for call in calls}
        assert ends == {
            (CallState.SUCCEEDED, Cause.EXITED),
            (CallState.FAILED, Cause.WORKSPACE_FULL),
        }
        assert sum(map(len, stage.disk.files.values())) == 600_000
        await stage.check_all_ended()

    @pytest.mark.parametrize("fault", Fault)
    async def test_nobody_knows_whether_it_is_recorded(self, fault: Fault) -> None:
        """A new call whose commit and whose look-up both fail is refused; recorded, it goes on."""
        stage = Stage()
        await stage.start()
        stage.disk.blinding = True
        stage.disk.fail_next(fault)
        with pytest.raises(Unavailable):
            await stage.call()
        await stage.pass_time(2)
        states = [call.state for call in stage.disk.calls.values()]
        assert states == ([CallState.SUCCEEDED] if fault is Fault.AFTER else [])
        await stage.check_all_ended()

    async def test_down_for_long(self) -> None:
        """Calls that come while the store takes nothing are refused; nothing of them is left."""
        stage = Stage()
        await stage.start()
        now = stage.disk.writes
        stage.disk.faults |= dict.fromkeys(range(now + 1, now + 9), Fault.BEFORE)
        for tool in (ALLOWED, DENIED, HELD, ALLOWED) * 2:
            with pytest.raises(Unavailable):
                await stage.call(tool)
        await stage.pass_time(2)
        assert stage.disk.calls == {}
        call = await stage.call()
        await stage.settle()
        assert stage.stored(call.id).state is CallState.SUCCEEDED
        await stage.check_all_ended()


class TestCancel:
    async def test_racing_every_step(self) -> None:
        """A cancellation after any step of the event loop ends the call once, cancelled or done."""
        for turns in range(80):
            for code in (SLEEP, "1"):
                stage = Stage()
                await stage.start()
                call = await stage.call(code=code)
                for _ in range(turns):
                    await asyncio.sleep(0)
                with contextlib.suppress(BrokerError):
                    await stage.life.executor.cancel(await stage.read(call.id))
                await stage.settle()
                ends = {CallState.CANCELLED} | ({CallState.SUCCEEDED} if code != SLEEP else set())
                assert stage.stored(call.id).state in ends, turns
                await stage.check_all_ended()

    async def test_racing_a_vote(self) -> None:
        """Of a vote and a cancellation at once, either may win; the call ends once."""
        for turns in range(40):
            stage = Stage()
            await stage.start()
            call = await stage.call(HELD)
            await stage.settle()
            voting = asyncio.ensure_future(stage.vote(call.id))
            for _ in range(turns):
                await asyncio.sleep(0)
            with contextlib.suppress(BrokerError):
                await stage.life.executor.cancel(await stage.read(call.id))
            await asyncio.wait({voting})
            await stage.settle()
            ends = {CallState.CANCELLED, CallState.SUCCEEDED}
            assert stage.stored(call.id).state in ends
            assert voting.exception() is None or isinstance(voting.exception(), BrokerError)
            await stage.check_all_ended()

    async def test_queued(self) -> None:
        """A queued call is cancelled at once, and never gets a container."""
        stage = Stage(max_running=1)
        await stage.start()
        running = await stage.call(code=SLEEP)
        await stage.settle()
        queued = await stage.call(code="2")
        cancelled = await stage.life.executor.cancel(await stage.read(queued.id))
        assert (cancelled.state, cancelled.cause) == (CallState.CANCELLED, Cause.CANCELLED)
        assert Step.START not in stage.steps(queued.id)
        await stage.life.executor.cancel(await stage.read(running.id))
        await stage.settle()
        await stage.check_all_ended()


class TestStop:
    async def test_running_ends_queued_stays(self) -> None:
        """Stopped under load, what runs ends, what waits is left for the next life, unharmed."""
        stage = Stage(max_running=2)
        life = await stage.start()
        first = await stage.call(code=SLEEP)
        await stage.pass_time(30)
        second = await stage.call(code=SLEEP, stdin="2")
        await stage.settle()
        queued = [await stage.call(code=SLEEP, stdin=str(number)) for number in range(3, 6)]
        held = await stage.call(HELD)
        stopping = asyncio.ensure_future(life.executor.stop(timedelta(seconds=120)))
        await stage.settle()
        with pytest.raises(Unavailable):
            await stage.call(code="late")
        await stage.pass_time(30)
        assert not stopping.done()
        await stage.pass_time(30)
        assert stopping.done()
        ends = {stage.stored(call.id).state for call in (first, second)}
        assert ends == {CallState.TIMED_OUT}
        assert {stage.stored(call.id).state for call in queued} == {CallState.QUEUED}
        assert stage.stored(held.id).state is CallState.HELD
        await stage.life.sandboxes.close()
        assert stage.host.containers == {}

    async def test_just_made(self) -> None:
        """A container that is just made as the broker stops gets no call: it would be cut off."""
        stage = Stage()
        life = await stage.start()
        await stage.call(code=SLEEP)
        await stage.settle()
        stage.host.troubles.append(Trouble.SLOW_MAKER)
        call = await stage.call(code="2")
        await stage.settle()
        stopping = asyncio.ensure_future(life.executor.stop(timedelta(seconds=120)))
        await stage.pass_time(10)
        assert (stage.stored(call.id).state, len(stage.host.containers)) == (CallState.QUEUED, 1)
        await stage.pass_time(60)
        assert stopping.done()
        await stage.restart()
        await stage.settle()
        assert stage.stored(call.id).state is CallState.SUCCEEDED
        await stage.check_all_ended()

    async def test_too_long(self) -> None:
        """What still runs when the time to stop is over is ended then, with its receipt."""
        stage = Stage()
        life = await stage.start()
        running = await stage.call(code=SLEEP)
        await stage.settle()
        stopping = asyncio.ensure_future(life.executor.stop(timedelta(seconds=5)))
        await stage.pass_time(5)
        assert stopping.done()
        ended = stage.stored(running.id)
        assert (ended.state, ended.cause) == (CallState.INTERRUPTED, Cause.BROKER_STOPPED)
        await stage.restart()
        await stage.settle()
        await stage.check_all_ended()
