"""Halts: what they stop, what waits, what goes on, whatever dies in between."""

import asyncio

import pytest

from broker.core.call import Call, Cause
from broker.core.halt import Scope
from broker.core.ids import CallId, HaltId
from broker.core.lifecycle import CallState, Step
from broker.errors import (
    FailedPrecondition,
    HaltNotDurable,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from broker.read import Reader
from tests.ports import history
from tests.ports.fake_sandbox import SLEEP, Trouble
from tests.ports.memory_store import Fault
from tests.story.fake_policy import WaitingPolicy
from tests.story.stage import AGENT, AGENT2, ALLOWED, DENIED, EVERYTHING, HELD, Stage

SCOPES = {
    "all": EVERYTHING,
    "agent": Scope(agent=AGENT.id),
    "session": Scope(agent=AGENT.id, session_id="default"),
    "tool": Scope(tool=ALLOWED),
}
OTHERS = {
    "agent": Scope(agent=AGENT2.id),
    "session": Scope(agent=AGENT.id, session_id="another"),
    "tool": Scope(tool=HELD),
}


async def _running(stage: Stage, **who: object) -> CallId:
    """Have a call that runs until somebody ends it."""
    call = await stage.call(code=SLEEP, **who)  # type: ignore[arg-type]
    await stage.settle()
    assert stage.stored(call.id).state is CallState.RUNNING
    return call.id


async def _queued(stage: Stage) -> CallId:
    """Queue a call of another agent behind one that sleeps in the only slot."""
    await _running(stage)
    behind = await stage.call(code="2", agent=AGENT2)
    await stage.settle()
    assert stage.stored(behind.id).state is CallState.QUEUED
    return behind.id


async def _held(stage: Stage) -> Call:
    call = await stage.call(HELD)
    assert call.state is CallState.HELD
    return call


def _starts_after_halt(stage: Stage) -> list[str]:
    events = [event.type for event in stage.disk.events]
    return [kind for kind in events[events.index("halt.set") :] if kind == Step.START.value]


class TestRunning:
    @pytest.mark.parametrize("kind", SCOPES)
    async def test_killed(self, kind: str) -> None:
        """A running call in the scope ends KILLED by the halt, with its receipt."""
        stage = Stage()
        await stage.start()
        call = await _running(stage)
        done = await stage.halt(SCOPES[kind])
        await stage.settle()
        ended = stage.stored(call)
        assert (ended.state, ended.cause) == (CallState.KILLED, Cause.HALTED)
        assert (done.killed, done.was_active, done.active.is_durable) == (1, False, True)
        await stage.check_all_ended()

    @pytest.mark.parametrize("kind", OTHERS)
    async def test_others_run_on(self, kind: str) -> None:
        """A running call outside of the scope runs on, and new ones like it start."""
        stage = Stage()
        await stage.start()
        call = await _running(stage)
        done = await stage.halt(OTHERS[kind])
        await stage.settle()
        assert (done.killed, stage.stored(call).state) == (0, CallState.RUNNING)
        other = await stage.call(code="3")
        await stage.settle()
        assert stage.stored(other.id).state is CallState.SUCCEEDED

    async def test_engine_hangs(self) -> None:
        """A kill that does not return keeps the halt neither from the record nor from its maker."""
        stage = Stage()
        await stage.start()
        call = await _running(stage)
        stage.host.troubles.append(Trouble.KILL_HANGS)
        done = await stage.halt()
        assert (done.killed, done.active.is_durable) == (1, True)
        assert stage.stored(call).state is CallState.RUNNING
        assert (await stage.call()).state is CallState.DENIED


class TestWaiting:
    async def test_queued_waits_and_expires(self) -> None:
        """A queued call does not start under a halt, though a slot is free; its clock runs out."""
        stage = Stage(max_running=1)
        await stage.start()
        call = await _queued(stage)
        done = await stage.halt(Scope(agent=AGENT2.id))
        await stage.pass_time(300)
        assert (done.waiting, stage.stored(call).state) == (1, CallState.QUEUED)
        await stage.pass_time(301)
        ended = stage.stored(call)
        assert (ended.state, ended.cause) == (CallState.EXPIRED, Cause.START_BY_PASSED)
        await stage.check_all_ended()

    async def test_queued_goes_on(self) -> None:
        """A queued call goes on by itself when its halt is lifted."""
        stage = Stage(max_running=1)
        await stage.start()
        call = await _queued(stage)
        await stage.halt()
        await stage.settle()
        assert stage.stored(call).state is CallState.QUEUED
        await stage.resume()
        await stage.settle()
        assert stage.stored(call).state is CallState.SUCCEEDED
        await stage.check_all_ended()

    async def test_two_halts(self) -> None:
        """A call under two halts goes on when both are lifted, in whatever order."""
        stage = Stage(max_running=1)
        await stage.start()
        call = await _queued(stage)
        first, second = await stage.halt(), await stage.halt(Scope(agent=AGENT2.id))
        for halted in (second, first):
            assert stage.stored(call).state is CallState.QUEUED
            await stage.resume(halted.active.halt.id)
            await stage.settle()
        assert stage.stored(call).state is CallState.SUCCEEDED

    async def test_held_expires(self) -> None:
        """A held call under a halt expires by its own clock."""
        stage = Stage()
        await stage.start()
        call = await _held(stage)
        await stage.halt()
        await stage.pass_time(3601)
        assert stage.stored(call.id).cause is Cause.DECIDE_BY_PASSED
        await stage.check_all_ended()

    async def test_votes(self) -> None:
        """Nothing is approved under a halt, and nothing is counted; after it the vote counts."""
        stage = Stage()
        await stage.start()
        call = await _held(stage)
        await stage.halt(Scope(tool=HELD))
        with pytest.raises(FailedPrecondition) as caught:
            await stage.vote(call.id)
        assert caught.value.reason == "HALTED"
        assert stage.stored(call.id) == call
        await stage.resume()
        await stage.vote(call.id)
        await stage.settle()
        assert stage.stored(call.id).state is CallState.SUCCEEDED

    async def test_rejected(self) -> None:
        """A held call can be rejected under a halt."""
        stage = Stage()
        await stage.start()
        call = await _held(stage)
        await stage.halt()
        await stage.vote(call.id, approve=False)
        assert stage.stored(call.id).state is CallState.REJECTED
        await stage.check_all_ended()

    async def test_cancelled(self) -> None:
        """Its agent can cancel a held and a queued call under a halt."""
        stage = Stage(max_running=1)
        await stage.start()
        calls = [(await _held(stage)).id, await _queued(stage)]
        await stage.halt()
        for call in calls:
            await stage.life.executor.cancel(stage.stored(call))
        await stage.settle()
        assert [stage.stored(call).state for call in calls] == [CallState.CANCELLED] * 2
        await stage.check_all_ended()

    async def test_its_agent_reads_it(self) -> None:
        """What is said of a waiting call names the halt while there is one; of an ended one not."""
        stage = Stage()
        await stage.start()
        held, ended = await _held(stage), await stage.call(DENIED)
        reader = Reader(stage.life.world)
        await stage.halt()
        assert (await reader.answer(held)).is_halted
        assert not (await reader.answer(ended)).is_halted
        await stage.resume()
        assert not (await reader.answer(held)).is_halted


class TestNew:
    @pytest.mark.parametrize("kind", SCOPES)
    async def test_denied_unasked(self, kind: str) -> None:
        """A new call in the scope is denied by the broker's own rule; policy is not asked."""
        stage = Stage()
        await stage.start()
        await stage.halt(SCOPES[kind])
        call = await stage.call()
        assert (call.state, call.evaluations[-1].rule) == (CallState.DENIED, "broker.halted")
        assert stage.policy.asked == 0
        await stage.check_all_ended()

    async def test_resumed(self) -> None:
        """The same call runs once the halt is lifted."""
        stage = Stage()
        await stage.start()
        await stage.halt()
        await stage.call()
        await stage.resume()
        call = await stage.call()
        await stage.settle()
        assert stage.stored(call.id).state is CallState.SUCCEEDED


class TestStart:
    """A halt at every moment between the decision and the first byte."""

    async def test_between_vote_and_start(self) -> None:
        """An approved call that has not started yet waits for the halt's end, then runs."""
        stage = Stage()
        await stage.start()
        call = await _held(stage)
        await stage.vote(call.id)
        await stage.halt()
        await stage.settle()
        assert stage.stored(call.id).state is CallState.QUEUED
        await stage.check()
        await stage.resume()
        await stage.settle()
        assert stage.stored(call.id).state is CallState.SUCCEEDED
        await stage.check_all_ended()

    @pytest.mark.parametrize("protected", [True, False])
    async def test_while_policy_thinks(self, protected: bool) -> None:
        """A halt that comes while policy is asked again is seen; without both checks it is not."""
        stage = Stage()
        policy = stage.policy = WaitingPolicy(stage.policy.rules)
        await stage.start()
        call = await _held(stage)
        policy.may_answer.clear()
        await stage.vote(call.id)
        await stage.settle()
        assert policy.asked == 2
        await stage.halt()
        if not protected:
            # What memory and the store know of the halt is taken away; the halt was set.
            stage.life.world.halts._active.clear()
            stage.disk.halts.clear()
        policy.may_answer.set()
        await stage.settle()
        began = Step.START in stage.steps(call.id)
        assert began is not protected
        assert stage.host.containers == {}

    async def test_while_policy_thinks_and_the_store_is_away(self) -> None:
        """A halt that the store does not have yet is seen all the same."""
        stage = Stage()
        policy = stage.policy = WaitingPolicy(stage.policy.rules)
        await stage.start()
        call = await _held(stage)
        policy.may_answer.clear()
        await stage.vote(call.id)
        await stage.settle()
        stage.disk.fail_next(Fault.BEFORE)
        with pytest.raises(HaltNotDurable):
            await stage.halt()
        policy.may_answer.set()
        await stage.settle()
        assert (policy.asked, stage.disk.halts) == (2, {})
        assert Step.START not in stage.steps(call.id)
        assert stage.host.containers == {}

    async def test_container_just_made(self) -> None:
        """A container that was just made for a call gets no byte, and goes."""
        stage = Stage()
        await stage.start()
        call = await stage.call()
        await stage.run_until(lambda: bool(stage.host.containers))
        await stage.halt()
        await stage.settle()
        assert not stage.host.began
        await stage.check()
        await stage.resume()
        await stage.settle()
        assert stage.stored(call.id).state in {CallState.SUCCEEDED, CallState.KILLED}
        await stage.check_all_ended()

    @pytest.mark.parametrize("turns", range(60))
    async def test_at_every_moment(self, turns: int) -> None:
        """Whenever the halt comes, nothing starts after it, nothing runs, no container is left."""
        stage = Stage(max_running=3)
        await stage.start()
        held = await _held(stage)
        calling = [asyncio.create_task(stage.call(code=SLEEP)) for _ in range(5)]
        voting = asyncio.create_task(stage.vote(held.id))
        for _ in range(turns):
            await asyncio.sleep(0)
        await stage.halt()
        await stage.settle()
        await asyncio.gather(*calling, voting, return_exceptions=True)
        await stage.settle()
        states = {call.state for call in stage.disk.calls.values()}
        assert CallState.RUNNING not in states
        assert _starts_after_halt(stage) == []
        assert stage.host.containers == {}
        await history.check_store(stage.life.world.store)

    async def test_twenty_at_once(self) -> None:
        """Twenty halts, resumes and calls at once end with what the last halt says."""
        stage = Stage(max_running=8)
        await stage.start()

        async def halt_and_resume() -> None:
            done = await stage.halt(Scope(tool=ALLOWED))
            await stage.resume(done.active.halt.id)

        ends = await asyncio.gather(
            *(stage.call(code=SLEEP) for _ in range(10)),
            *(halt_and_resume() for _ in range(10)),
            *(stage.call(code=SLEEP) for _ in range(10)),
            return_exceptions=True,
        )
        wrong = [end for end in ends if isinstance(end, Exception)]
        assert all(isinstance(error, NotFound | Unavailable) for error in wrong)
        await stage.halt()
        await stage.settle()
        assert CallState.RUNNING not in {call.state for call in stage.disk.calls.values()}
        assert stage.host.containers == {}
        await history.check_store(stage.life.world.store)


class TestAgain:
    async def test_same_scope(self) -> None:
        """The same scope halted again is the same halt; the record says who asked again."""
        stage = Stage()
        await stage.start()
        first = await stage.halt(reason="first")
        again = await stage.halt(reason="second")
        assert again.active == first.active
        assert again.was_active
        kept = [event for event in stage.disk.events if event.type.startswith("halt.")]
        assert [event.type for event in kept] == ["halt.set", "halt.repeated"]
        assert kept[1].data == {"halt": first.active.halt.id, "by": first.active.halt.set_by}
        await stage.resume(first.active.halt.id)
        assert stage.life.brake.active() == []

    async def test_resume_twice(self) -> None:
        """A halt that was lifted is not found any more; lifting all of none is no error."""
        stage = Stage()
        await stage.start()
        done = await stage.halt()
        await stage.resume(done.active.halt.id)
        with pytest.raises(NotFound):
            await stage.resume(done.active.halt.id)
        assert await stage.resume() == []

    @pytest.mark.parametrize("reason", ["", " \n", "x" * 2001])
    async def test_reason(self, reason: str) -> None:
        """A halt without a reason, or with a book, is refused; nothing is halted."""
        stage = Stage()
        await stage.start()
        with pytest.raises(InvalidArgument):
            await stage.halt(reason=reason)
        assert stage.life.brake.active() == []

    @pytest.mark.parametrize("field", ["agent", "tool"])
    async def test_unknown_name(self, field: str) -> None:
        """A name that nobody has is refused, with those that there are; nothing is halted."""
        stage = Stage()
        await stage.start()
        with pytest.raises(NotFound) as caught:
            await stage.halt(Scope(**{field: "typo"}))  # type: ignore[arg-type]
        assert (AGENT.id if field == "agent" else ALLOWED) in caught.value.message
        assert stage.life.brake.active() == []

    async def test_agent_that_was_removed(self) -> None:
        """An agent that is configured no more is halted as long as calls of its are open."""
        stage = Stage()
        await stage.start()
        call = await _running(stage)
        del stage.life.world.people._identities[AGENT.id]  # type: ignore[attr-defined]
        await stage.halt(Scope(agent=AGENT.id))
        await stage.settle()
        assert stage.stored(call).cause is Cause.HALTED

    async def test_maker_leaves(self) -> None:
        """A halt whose maker's connection breaks is set all the same."""
        stage = Stage()
        await stage.start()
        call = await _running(stage)
        halting = asyncio.create_task(stage.halt())
        await asyncio.sleep(0)
        halting.cancel()
        await stage.settle()
        assert stage.stored(call).cause is Cause.HALTED
        assert len(stage.disk.halts) == 1


class TestRecord:
    async def test_content(self) -> None:
        """Row and events name reason and person by digest and pseudonym alone."""
        stage = Stage()
        await stage.start()
        done = await stage.halt(Scope(agent=AGENT.id, session_id="s"), reason="a secret reason")
        await stage.resume()
        kept = [event for event in stage.disk.events if event.type.startswith("halt.")]
        halt = done.active.halt
        assert [event.data for event in kept] == [
            {
                "halt": halt.id,
                "scope": "session",
                "agent": AGENT.id,
                "session": "s",
                "tool": "",
                "by": halt.set_by,
                "reason_sha256": halt.reason_sha256,
            },
            {"halt": halt.id, "by": halt.set_by},
        ]
        assert stage.disk.people["admin-person"] == halt.set_by
        assert stage.disk.documents[halt.reason_sha256].body["reason"] == "a secret reason"

    async def test_restart(self) -> None:
        """A halt outlives the broker: queued calls go on waiting, new ones are denied."""
        stage = Stage(max_running=1)
        await stage.start()
        call = await _queued(stage)
        done = await stage.halt(Scope(agent=AGENT2.id), reason="kept")
        await stage.restart()
        await stage.settle()
        assert stage.stored(call).state is CallState.QUEUED
        active = stage.life.brake.active()
        assert [one.halt for one in active] == [done.active.halt]
        assert active[0].reason is not None
        assert active[0].reason.body["reason"] == "kept"
        assert (await stage.call(agent=AGENT2)).state is CallState.DENIED
        await stage.resume()
        await stage.settle()
        assert stage.stored(call).state is CallState.SUCCEEDED
        await stage.check_all_ended()

    @pytest.mark.parametrize("fault", Fault)
    async def test_crash_at_the_write(self, fault: Fault) -> None:
        """A broker that dies at the write has the halt if it was written, and answered nothing."""
        stage = Stage(max_running=1)
        await stage.start()
        call = await _queued(stage)
        stage.crash_at(stage.disk.writes + 1, fault)
        with pytest.raises(HaltNotDurable):
            await stage.halt(Scope(agent=AGENT2.id))
        await stage.restart()
        await stage.settle()
        written = fault is Fault.AFTER
        wanted = CallState.QUEUED if written else CallState.SUCCEEDED
        assert len(stage.life.brake.active()) == int(written)
        assert stage.stored(call).state is wanted

    @pytest.mark.parametrize("fault", Fault)
    async def test_store_away(self, fault: Fault) -> None:
        """Where the store fails the halt counts, says that it is not durable, and becomes so."""
        stage = Stage()
        await stage.start()
        call = await _running(stage)
        # The end of the killed call, and the halt.
        for ahead in (1, 2):
            stage.disk.faults[stage.disk.writes + ahead] = fault
        with pytest.raises(HaltNotDurable):
            await stage.halt()
        assert not stage.life.brake.active()[0].is_durable
        assert "a halt waits for the store" in stage.alarms.heard
        assert (await stage.call()).state is CallState.DENIED
        await stage.pass_time(1)
        assert stage.stored(call).cause is Cause.HALTED
        assert stage.life.brake.active()[0].is_durable
        assert [event.type for event in stage.disk.events].count("halt.set") == 1
        await stage.restart()
        assert len(stage.life.brake.active()) == 1
        await stage.check_all_ended()

    async def test_lifted_before_it_was_durable(self) -> None:
        """A halt that is lifted while it waits for the store is not written afterwards."""
        stage = Stage()
        await stage.start()
        stage.disk.fail_next(Fault.BEFORE)
        with pytest.raises(HaltNotDurable):
            await stage.halt()
        await stage.resume()
        await stage.pass_time(5)
        assert stage.disk.halts == {}
        await stage.restart()
        assert stage.life.brake.active() == []

    @pytest.mark.parametrize("fault", Fault)
    async def test_resume_while_the_store_is_away(self, fault: Fault) -> None:
        """A halt that cannot be lifted durably stays, says so, and is lifted at the next try."""
        stage = Stage(max_running=1)
        await stage.start()
        call = await _queued(stage)
        done = await stage.halt(Scope(agent=AGENT2.id))
        stage.disk.fail_next(fault)
        with pytest.raises(Unavailable):
            await stage.resume(done.active.halt.id)
        await stage.settle()
        assert (await stage.call(agent=AGENT2)).state is CallState.DENIED
        assert stage.stored(call).state is CallState.QUEUED
        await stage.resume(HaltId(done.active.halt.id))
        await stage.pass_time(601)
        assert stage.stored(call).state is CallState.EXPIRED or Step.START in stage.steps(call)
        kinds = [event.type for event in stage.disk.events]
        assert kinds.count("halt.lifted") == 1
