"""What is asked again between decision and start, and what comes of it."""

from datetime import timedelta

from broker.core.call import Cause
from broker.core.ids import CallId
from broker.core.lifecycle import CallState, Step
from broker.run import BUNDLE_PREMISE
from tests.ports import samples
from tests.ports.fake_sandbox import SLEEP
from tests.story.fake_policy import ALLOW, DENY, HOLD
from tests.story.stage import ALLOWED, APPROVER, APPROVER2, HELD, Stage


async def _queued_behind(stage: Stage) -> CallId:
    """Queue a call behind one that sleeps in the only slot."""
    await stage.call(code=SLEEP)
    await stage.settle()
    behind = await stage.call(code="2")
    await stage.settle()
    assert stage.stored(behind.id).state is CallState.QUEUED
    return behind.id


class TestFreshDecision:
    async def test_nothing_came_between(self) -> None:
        """A call that starts as it was decided asks policy once."""
        stage = Stage()
        await stage.start()
        call = await stage.call()
        await stage.settle()
        assert len(stage.stored(call.id).evaluations) == 1
        assert stage.policy.asked == 1

    async def test_bundle_changed(self) -> None:
        """A bundle that came between decision and start is asked; the receipt names both."""
        stage = Stage(max_running=1)
        await stage.start()
        call = await _queued_behind(stage)
        before = stage.policy.bundle_sha256
        stage.bundle_changes()
        await stage.pass_time(300)
        stored = stage.stored(call)
        assert stored.state is CallState.SUCCEEDED
        bundles = [entry.bundle_sha256 for entry in stored.evaluations]
        assert bundles == [before, stage.policy.bundle_sha256]
        await stage.check_all_ended()

    async def test_bundle_changed_to_denial(self) -> None:
        """A call that the new bundle denies ends DENIED, unstarted."""
        stage = Stage(max_running=1)
        await stage.start()
        call = await _queued_behind(stage)
        stage.bundle_changes()
        stage.policy.rules[ALLOWED] = DENY
        await stage.pass_time(300)
        assert stage.stored(call).state is CallState.DENIED
        assert Step.START not in stage.steps(call)
        await stage.check_all_ended()

    async def test_bundle_changed_to_hold(self) -> None:
        """A call that the new bundle wants held is held, and runs once approved."""
        stage = Stage(max_running=1)
        await stage.start()
        call = await _queued_behind(stage)
        stage.bundle_changes()
        stage.policy.rules[ALLOWED] = HOLD
        await stage.pass_time(300)
        assert stage.stored(call).state is CallState.HELD
        await stage.vote(call)
        await stage.settle()
        assert stage.stored(call).state is CallState.SUCCEEDED
        await stage.check_all_ended()

    async def test_restart_asks_again(self) -> None:
        """A call that was queued when the broker died is asked about anew."""
        stage = Stage(max_running=1)
        await stage.start()
        call = await _queued_behind(stage)
        await stage.restart()
        await stage.settle()
        assert stage.stored(call).state is CallState.SUCCEEDED
        assert len(stage.stored(call).evaluations) == 2
        await stage.check_all_ended()

    async def test_policy_gone(self) -> None:
        """A policy engine that is gone at release denies: an approval alone starts nothing."""
        stage = Stage()
        await stage.start()
        call = await stage.call(HELD)
        stage.policy.is_there = False
        await stage.vote(call.id)
        await stage.settle()
        stored = stage.stored(call.id)
        assert stored.state is CallState.DENIED
        assert stored.evaluations[-1].rule == "broker.policy_unavailable"
        await stage.check_all_ended()


class TestUnsettled:
    async def test_third_change(self) -> None:
        """What differs at every start ends DENIED after the third time, with what was recorded."""
        stage = Stage()
        await stage.start()
        # The engine decides by a bundle that the store never activated.
        stage.disk.premises[BUNDLE_PREMISE] = samples.digest("another bundle")
        call = await stage.call()
        await stage.settle()
        stored = stage.stored(call.id)
        assert stored.state is CallState.DENIED
        assert stored.evaluations[-1].rule == "broker.unsettled"
        assert Step.START not in stage.steps(call.id)
        for entry in stored.evaluations:
            assert entry.policy_input_sha256 in stage.disk.documents
            assert entry.decision_sha256 in stage.disk.documents
        await stage.check_all_ended()

    async def test_settles_in_time(self) -> None:
        """What differs once is asked again, and runs."""
        stage = Stage(max_running=1)
        await stage.start()
        call = await _queued_behind(stage)
        # The store moves first; the engine follows only once a start was refused for it.
        stage.disk.premises[BUNDLE_PREMISE] = samples.digest("bundle 2")
        stage.clock.advance(timedelta(seconds=60))
        end_of_the_first = stage.disk.writes + 1
        await stage.run_until(lambda: stage.disk.writes > end_of_the_first)
        stage.policy.revision = 2
        await stage.settle()
        assert stage.stored(call).state is CallState.SUCCEEDED


class TestStricter:
    async def test_twice_then_denied(self) -> None:
        """Policy that wants more after each approval holds anew twice, then the call is denied."""
        stage = Stage()
        await stage.start()
        call = await stage.call(HELD)
        await stage.settle()
        for number in (1, 2, 3):
            held = stage.stored(call.id)
            assert held.state is CallState.HELD
            assert held.hold is not None
            assert held.hold.number == number
            # Tighter than what is about to be approved, each time.
            stage.policy.limits = {"timeout_s": 5 - number}
            await stage.vote(call.id)
            await stage.settle()
        stored = stage.stored(call.id)
        assert stored.state is CallState.DENIED
        assert stored.evaluations[-1].rule == "broker.unsettled"
        assert len(stored.past_votes) == 2
        await stage.check_all_ended()

    async def test_twice_where_it_was_allowed_first(self) -> None:
        """A call that was allowed first is held anew twice too, not three times."""
        stage = Stage(max_running=1)
        await stage.start()
        call = await _queued_behind(stage)
        stage.bundle_changes()
        stage.policy.rules[ALLOWED] = HOLD
        await stage.pass_time(300)
        for number in (1, 2):
            held = stage.stored(call).hold
            assert held is not None
            assert (stage.stored(call).state, held.number) == (CallState.HELD, number)
            stage.policy.limits = {"timeout_s": 5 - number}
            await stage.vote(call)
            await stage.settle()
        stored = stage.stored(call)
        assert (stored.state, stored.evaluations[-1].rule) == (
            CallState.DENIED,
            "broker.unsettled",
        )
        await stage.check_all_ended()

    async def test_more_people(self) -> None:
        """A release that wants two people holds anew; the first vote does not count again."""
        stage = Stage()
        await stage.start()
        call = await stage.call(HELD)
        stage.policy.requirements = {"": 2}
        await stage.vote(call.id)
        await stage.settle()
        assert stage.stored(call.id).state is CallState.HELD
        await stage.vote(call.id, APPROVER)
        await stage.settle()
        assert stage.stored(call.id).state is CallState.HELD
        await stage.vote(call.id, APPROVER2)
        await stage.settle()
        assert stage.stored(call.id).state is CallState.SUCCEEDED
        await stage.check_all_ended()

    async def test_looser(self) -> None:
        """A release that policy allows by now runs with what was approved."""
        stage = Stage()
        await stage.start()
        call = await stage.call(HELD)
        approved = stage.stored(call.id).obligations
        stage.policy.rules[HELD] = ALLOW
        await stage.vote(call.id)
        await stage.settle()
        assert stage.stored(call.id).state is CallState.SUCCEEDED
        assert stage.stored(call.id).obligations == approved


class TestExpiry:
    async def test_decide_by(self) -> None:
        """A hold that nobody decides ends EXPIRED, recorded."""
        stage = Stage()
        await stage.start()
        call = await stage.call(HELD)
        await stage.pass_time(3599)
        assert stage.stored(call.id).state is CallState.HELD
        await stage.pass_time(1)
        stored = stage.stored(call.id)
        assert (stored.state, stored.cause) == (CallState.EXPIRED, Cause.DECIDE_BY_PASSED)
        await stage.check_all_ended()

    async def test_decide_by_while_down(self) -> None:
        """A hold whose time passes while no broker lives expires when one does."""
        stage = Stage()
        await stage.start()
        call = await stage.call(HELD)
        stage._die()
        await stage.pass_time(3600)
        await stage.restart()
        await stage.settle()
        assert stage.stored(call.id).state is CallState.EXPIRED
        await stage.check_all_ended()

    async def test_start_by(self) -> None:
        """An allowed call that gets no slot in its time ends EXPIRED."""
        stage = Stage(max_running=1, start_within_s=30)
        await stage.start()
        call = await _queued_behind(stage)
        await stage.pass_time(30)
        stored = stage.stored(call)
        assert (stored.state, stored.cause) == (CallState.EXPIRED, Cause.START_BY_PASSED)
        await stage.pass_time(300)
        await stage.check_all_ended()

    async def test_run_by(self) -> None:
        """An approved call that gets no slot in its time ends EXPIRED."""
        stage = Stage(max_running=1)
        await stage.start()
        # The tool's own 60 s are the longest run, so ten of them block the only slot.
        for number in range(11):
            await stage.call(code=SLEEP, stdin=str(number))
        call = await stage.call(HELD)
        await stage.vote(call.id)
        for _ in range(10):
            await stage.pass_time(60)
        stored = stage.stored(call.id)
        assert (stored.state, stored.cause) == (CallState.EXPIRED, Cause.RUN_BY_PASSED)
        await stage.pass_time(60)
        await stage.check_all_ended()
