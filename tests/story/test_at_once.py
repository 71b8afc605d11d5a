"""A call that waits for nothing: recorded, decided and begun in one commit."""

import asyncio

import pytest

from broker.core.call import Cause
from broker.core.lifecycle import CallState, Step
from broker.errors import Unavailable
from broker.run import BUNDLE_PREMISE
from tests.ports.fake_sandbox import SLEEP, Trouble
from tests.ports.memory_store import Fault
from tests.story.stage import AGENT2, DENIED, HELD, Stage


async def staged(*, max_running: int = 2) -> Stage:
    """Start a broker with a container at hand for whatever is asked for."""
    stage = Stage(max_running=max_running)
    stage.host.keeps_some = True
    await stage.start()
    return stage


class TestOneCommit:
    async def test_begun(self) -> None:
        """Record, decision and start are one commit; the end is the second and last."""
        stage = await staged()
        before = stage.disk.writes
        call = await stage.call()
        assert (call.state, stage.disk.writes - before) == (CallState.RUNNING, 1)
        await stage.settle()
        assert (stage.stored(call.id).state, stage.disk.writes - before) == (
            CallState.SUCCEEDED,
            2,
        )
        assert stage.steps(call.id) == [Step.RECEIVE, Step.ALLOW, Step.START, Step.SUCCEED]
        await stage.check_all_ended()

    @pytest.mark.parametrize(
        ("tool", "state"), [(DENIED, CallState.DENIED), (HELD, CallState.HELD)]
    )
    async def test_only_what_is_allowed(self, tool: str, state: CallState) -> None:
        """A call that is denied or held takes neither slot nor container."""
        stage = await staged()
        call = await stage.call(tool)
        assert (call.state, stage.host.containers) == (state, {})

    async def test_no_slot(self) -> None:
        """With every slot taken a call is queued, and waits for its turn."""
        stage = await staged(max_running=1)
        await stage.call(code=SLEEP)
        call = await stage.call()
        assert (call.state, len(stage.host.containers)) == (CallState.QUEUED, 1)
        await stage.pass_time(3_600)
        await stage.check_all_ended()

    async def test_no_overtaking(self) -> None:
        """A slot that came free goes to who waits for it, not to a call that comes just then."""
        stage = await staged(max_running=1)
        first = await stage.call(code=SLEEP)
        waiting = await stage.call(agent=AGENT2)
        await stage.settle()
        await stage.life.executor.cancel(await stage.read(first.id))
        late = await stage.call()
        assert late.state is CallState.QUEUED
        await stage.settle()
        started = [event.call for event in stage.disk.events if event.type == Step.START.value]
        assert started == [first.id, waiting.id, late.id]


class TestPremises:
    async def test_another_bundle(self) -> None:
        """Where the store has another bundle than the one that decided, policy is asked again."""
        stage = await staged()
        stage.disk.premises[BUNDLE_PREMISE] = "another"
        call = await stage.call()
        assert call.state is CallState.QUEUED
        stage.disk.premises[BUNDLE_PREMISE] = stage.policy.bundle_sha256
        await stage.settle()
        assert stage.stored(call.id).state is CallState.SUCCEEDED
        await stage.check_all_ended()

    async def test_stopping(self) -> None:
        """A broker that stops begins nothing more, a container at hand or not."""
        stage = await staged()
        stage.life.executor.runs.is_stopping = True
        call = await stage.call()
        assert (call.state, stage.host.began.total()) == (CallState.QUEUED, 0)

    async def test_halted_meanwhile(self) -> None:
        """A halt that is set while the commit is under way finds the container, and ends it."""
        stage = await staged()
        calling = asyncio.create_task(stage.call(code=SLEEP))
        await stage.run_until(lambda: stage.life.executor.running == 1)
        await stage.halt()
        call = await calling
        await stage.settle()
        assert stage.stored(call.id).state in {CallState.KILLED, CallState.QUEUED}
        assert stage.host.containers == {}

    async def test_secret(self) -> None:
        """A call whose secret cannot be read is recorded, then ends without having begun."""
        stage = Stage()
        stage.host.keeps_some = True
        stage.declare("workspace_write", "token")
        stage.policy.secrets = ["token"]
        await stage.start()
        call = await stage.call("workspace_write", path="a", content="b")
        assert call.state is CallState.QUEUED
        await stage.settle()
        ended = stage.stored(call.id)
        assert (ended.state, ended.cause) == (
            CallState.SANDBOX_ERROR,
            Cause.SECRET_UNAVAILABLE,
        )
        await stage.check_all_ended()


class TestTrouble:
    @pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name)
    async def test_commit(self, fault: Fault) -> None:
        """A first commit that fails leaves nothing begun; one whose answer is lost is found."""
        stage = await staged()
        stage.disk.faults[stage.disk.writes + 1] = fault
        if fault is Fault.BEFORE:
            with pytest.raises(Unavailable):
                await stage.call()
        else:
            await stage.call()
        await stage.pass_time(2)
        ends = [call.state for call in stage.disk.calls.values()]
        assert ends == ([] if fault is Fault.BEFORE else [CallState.SUCCEEDED])
        await stage.check_all_ended()

    @pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name)
    async def test_crash(self, fault: Fault) -> None:
        """A broker that dies in that commit lost the call, or finds it begun: it runs no more."""
        stage = await staged()
        stage.crash_at(stage.disk.writes + 1, fault)
        with pytest.raises(Unavailable):
            await stage.call(request_id="r1")
        await stage.restart()
        await stage.settle()
        ends = [(call.state, call.cause) for call in stage.disk.calls.values()]
        interrupted = (CallState.INTERRUPTED, Cause.BROKER_RESTARTED)
        assert ends == ([] if fault is Fault.BEFORE else [interrupted])
        assert stage.host.began.total() == 0
        await stage.check_all_ended()

    @pytest.mark.parametrize(
        ("trouble", "state"),
        [
            (Trouble.NOT_BEGUN, CallState.SANDBOX_ERROR),
            (Trouble.BROKEN, CallState.INTERRUPTED),
            (Trouble.ENGINE_LOST, CallState.INTERRUPTED),
        ],
        ids=lambda value: value.name,
    )
    async def test_sandbox(self, trouble: Trouble, state: CallState) -> None:
        """What goes wrong with the container is told as for a call that had waited for one."""
        stage = await staged()
        stage.host.troubles.append(trouble)
        call = await stage.call()
        await stage.pass_time(2)
        assert stage.stored(call.id).state is state
        await stage.check_all_ended()
