"""Let each write of each kind of call fail, before it is durable and after."""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable

import pytest

from broker.core.ids import CallId
from broker.core.lifecycle import CallState
from broker.errors import BrokerError
from tests.ports.fake_sandbox import SLEEP
from tests.ports.memory_store import Fault
from tests.story.stage import ALLOWED, DENIED, HELD, Stage

_ATTEMPTS = 20


async def _until_decided(
    stage: Stage, call: CallId, step: Callable[[], Awaitable[object]], *waiting: CallState
) -> None:
    """Try a step again, as a person does whose answer was lost, while the call waits for it."""
    for _ in range(_ATTEMPTS):
        await stage.settle()
        await stage.revive()
        await stage.settle()
        if stage.stored(call).state not in waiting:
            return
        with contextlib.suppress(BrokerError):
            await step()
        await stage.pass_time(1)
    raise AssertionError("the step was never taken")


async def allowed(stage: Stage) -> CallId:
    """A call that policy allows."""
    return await stage.insist(ALLOWED, "request")


async def writing(stage: Stage) -> CallId:
    """A call that changes the workspace."""
    return await stage.insist("workspace_write", "request", path="a", content="b")


async def held(stage: Stage) -> CallId:
    """A call that policy holds, and a person approves."""
    call = await stage.insist(HELD, "request")
    await _until_decided(stage, call, lambda: stage.vote(call), CallState.HELD)
    return call


async def rejected(stage: Stage) -> CallId:
    """A call that policy holds, and a person rejects."""
    call = await stage.insist(HELD, "request")
    veto = functools.partial(stage.vote, call, approve=False)
    await _until_decided(stage, call, veto, CallState.HELD)
    return call


async def denied(stage: Stage) -> CallId:
    """A call that policy denies."""
    return await stage.insist(DENIED, "request")


async def cancelled(stage: Stage) -> CallId:
    """A call that its agent cancels while it runs."""
    call = await stage.insist(ALLOWED, "request", code=SLEEP)
    await stage.settle()

    async def cancel() -> None:
        await stage.life.executor.cancel(await stage.read(call))

    await _until_decided(stage, call, cancel, CallState.QUEUED, CallState.RUNNING)
    return call


async def cancelled_while_held(stage: Stage) -> CallId:
    """A call that its agent cancels while people look at it."""
    call = await stage.insist(HELD, "request")

    async def cancel() -> None:
        await stage.life.executor.cancel(await stage.read(call))

    await _until_decided(stage, call, cancel, CallState.HELD)
    return call


Story = Callable[[Stage], Awaitable[CallId]]


async def _called(story: "Story", stage: Stage) -> CallId:
    return await story(stage)


STORIES: dict[Story, CallState] = {
    allowed: CallState.SUCCEEDED,
    writing: CallState.SUCCEEDED,
    held: CallState.SUCCEEDED,
    rejected: CallState.REJECTED,
    denied: CallState.DENIED,
    cancelled: CallState.CANCELLED,
    cancelled_while_held: CallState.CANCELLED,
}
# Only a crash, or a doubt about the start, may turn an end into "nobody knows".
_IN_DOUBT = {CallState.INTERRUPTED}


async def _tell(stage: Stage, story: Story) -> CallId:
    await stage.start()
    call = await story(stage)
    for _ in range(3):
        await stage.pass_time(2)
        await stage.revive()
    await stage.settle()
    return call


@pytest.fixture(params=STORIES, ids=lambda story: story.__name__)
def story(request: pytest.FixtureRequest) -> Story:
    """Each kind of call in turn."""
    chosen: Story = request.param
    return chosen


class TestWalk:
    async def test_undisturbed(self, story: Story) -> None:
        """Where nothing goes wrong, each kind of call ends as it should, unheard by operators."""
        stage = Stage()
        call = await _tell(stage, story)
        await stage.check_all_ended()
        assert stage.stored(call).state is STORIES[story]
        assert stage.alarms.heard == []

    @pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name)
    async def test_failing_write(self, story: Story, fault: Fault) -> None:
        """Whichever write fails, in one life: one call, run at most once, one receipt, its end."""
        stage = Stage()
        await _tell(stage, story)
        for write in range(1, stage.disk.writes + 1):
            faulty = Stage()
            faulty.disk.faults[write] = fault
            call = await _tell(faulty, story)
            await faulty.check_all_ended()
            assert list(faulty.disk.calls) == [call], write
            assert faulty.stored(call).state is STORIES[story], write

    @pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name)
    async def test_dying_at_a_write(self, story: Story, fault: Fault) -> None:
        """Whichever write the broker dies at, the next life carries the one call to its end."""
        stage = Stage()
        await _tell(stage, story)
        for write in range(1, stage.disk.writes + 1):
            dying = Stage()
            dying.crash_at(write, fault)
            call = await _tell(dying, story)
            await dying.check_all_ended()
            assert list(dying.disk.calls) == [call], write
            assert dying.stored(call).state in {STORIES[story]} | _IN_DOUBT, write
            began = dying.host.began.total()
            assert began <= 1

    async def test_dying_between_writes(self, story: Story) -> None:
        """Killed after any number of steps of the event loop, each call ends once all the same."""
        for turns in range(0, 120, 3):
            stage = Stage()
            await stage.start()
            telling = asyncio.create_task(_called(story, stage))
            stage.actors |= {asyncio.current_task(), telling}
            for _ in range(turns):
                await asyncio.sleep(0)
            stage._die()
            call = await telling
            await stage.revive()
            for _ in range(3):
                await stage.pass_time(2)
            await stage.check_all_ended()
            assert list(stage.disk.calls) == [call]
            assert stage.stored(call).state in {STORIES[story]} | _IN_DOUBT
