"""What an agent was given stays with it: labels, from the start of a call on."""

import asyncio

import pytest

from broker.check import Checker
from broker.core.call import Call
from broker.core.ids import CallId
from broker.core.label import MOST_LABELS
from broker.core.lifecycle import CallState, Step
from broker.core.order import Wish
from broker.errors import StoreUnavailable
from tests.ports.fake_sandbox import SLEEP, Trouble
from tests.ports.memory_store import Fault
from tests.story.fake_policy import ALLOW, DENY, HOLD
from tests.story.stage import AGENT, AGENT2, ALLOWED, HELD, Stage

TAINT = ALLOWED
SINK = "workspace_write"
LABEL = "untrusted"
WRITE = {"path": "a", "content": "b"}


async def _stage(*, max_running: int = 2) -> Stage:
    """Start a broker whose policy labels one tool's calls, and holds another's from then on."""
    stage = Stage(max_running=max_running)
    stage.policy.labels[TAINT] = [LABEL]
    stage.policy.tainted[SINK, LABEL] = HOLD
    await stage.start()
    return stage


async def _tainted(stage: Stage, session: str = "") -> Call:
    call = await stage.call(TAINT, session=session)
    await stage.settle()
    return call


def _labels(stage: Stage) -> frozenset[str]:
    """Give what memory and disk say, which is the same at rest."""
    held = stage.life.world.labels.of(AGENT.id)
    assert held == stage.disk.labels.get(AGENT.id, frozenset())
    return held


class TestEarned:
    async def test_from_the_start_on(self) -> None:
        """An agent has a label as soon as the tool that earned it begins, before it has ended."""
        stage = await _stage()
        call = await stage.call(TAINT, code=SLEEP)
        await stage.run_until(lambda: stage.host.began.total() == 1)
        assert stage.stored(call.id).state is CallState.RUNNING
        assert _labels(stage) == {LABEL}
        assert (await stage.call(SINK, **WRITE)).state is CallState.HELD

    @pytest.mark.parametrize("session", ["", "another"])
    async def test_in_each_session(self, session: str) -> None:
        """A label holds in the session that earned it, and in each other."""
        stage = await _stage()
        await _tainted(stage)
        assert (await stage.call(SINK, session=session, **WRITE)).state is CallState.HELD

    async def test_not_by_others(self) -> None:
        """Another agent, or one whose call has not begun, has no label."""
        stage = await _stage()
        await _tainted(stage)
        call = await stage.call(SINK, agent=AGENT2, **WRITE)
        await stage.settle()
        assert stage.stored(call.id).state is CallState.SUCCEEDED

    async def test_denied_or_rejected(self) -> None:
        """A call that never begins labels nobody: its agent was given nothing."""
        stage = await _stage()
        stage.policy.rules[TAINT] = DENY
        await _tainted(stage)
        stage.policy.rules[TAINT] = HOLD
        held = await _tainted(stage)
        await stage.vote(held.id, approve=False)
        stage.policy.rules[TAINT] = ALLOW
        stage.host.troubles.append(Trouble.NOT_MADE)
        await _tainted(stage)
        assert [call.state for call in stage.disk.calls.values()] == [
            CallState.DENIED,
            CallState.REJECTED,
            CallState.SANDBOX_ERROR,
        ]
        assert _labels(stage) == frozenset()
        await stage.check_all_ended()

    async def test_what_was_shown_counts(self) -> None:
        """A label that people saw is kept, though policy at release says nothing of it."""
        stage = await _stage()
        stage.policy.rules[TAINT] = HOLD
        held = await stage.call(TAINT)
        stage.policy.labels[TAINT] = ["other"]
        await stage.vote(held.id)
        await stage.settle()
        assert stage.stored(held.id).state is CallState.SUCCEEDED
        assert _labels(stage) == {LABEL, "other"}

    async def test_told_once(self) -> None:
        """The event names what is new to the agent, and comes with the start or not at all."""
        stage = await _stage()
        await _tainted(stage)
        stage.policy.labels[TAINT] = [LABEL, "more"]
        await _tainted(stage, "another")
        await _tainted(stage)
        told = [event.data for event in stage.disk.events if event.type == "agent.labelled"]
        assert told == [{"labels": [LABEL]}, {"labels": ["more"]}]

    async def test_not_in_the_receipt(self) -> None:
        """A receipt names no label: what a call was about cannot be read from the log."""
        stage = await _stage()
        await _tainted(stage)
        held = await stage.call(SINK, **WRITE)
        await stage.vote(held.id)
        await stage.settle()
        envelopes = b"".join(receipt.envelope for receipt in stage.disk.receipts)
        assert (len(stage.disk.receipts), LABEL.encode() in envelopes) == (2, False)


class TestPremise:
    async def test_parallel(self) -> None:
        """Of two calls recorded together the second is held, once the first has labelled both."""
        stage = await _stage(max_running=1)
        await stage.call(TAINT, agent=AGENT2, code=SLEEP)
        await stage.settle()
        taint, sink = await stage.call(TAINT), await stage.call(SINK, **WRITE)
        await stage.settle()
        assert (taint.state, sink.state) == (CallState.QUEUED, CallState.QUEUED)
        await stage.pass_time(60)
        assert stage.stored(taint.id).state is CallState.SUCCEEDED
        assert stage.stored(sink.id).state is CallState.HELD
        assert Step.START not in stage.steps(sink.id)
        assert [entry.label_version for entry in stage.stored(sink.id).evaluations] == [0, 1]

    async def test_at_once(self) -> None:
        """Of two calls that start at once the second does not start without the first's label."""
        stage = await _stage()
        taint, sink = await stage.call(TAINT), await stage.call(SINK, **WRITE)
        await stage.settle()
        starts = [event.call for event in stage.disk.events if event.type == Step.START.value]
        assert starts == [taint.id]
        assert stage.stored(sink.id).state is CallState.HELD

    async def test_begun_in_the_first_commit(self) -> None:
        """So it is where both are recorded, decided and would begin in one commit each."""
        stage = await _stage()
        stage.host.keeps_some = True
        taint, sink = await asyncio.gather(stage.call(TAINT, code=SLEEP), stage.call(SINK, **WRITE))
        await stage.settle()
        assert stage.steps(taint.id) == [Step.RECEIVE, Step.ALLOW, Step.START]
        assert _labels(stage) == {LABEL}
        assert stage.steps(sink.id) == [Step.RECEIVE, Step.ALLOW, Step.HOLD]
        assert [entry.label_version for entry in stage.stored(sink.id).evaluations] == [0, 1]

    async def test_denied_now(self) -> None:
        """A queued call that policy denies under the new label ends DENIED, unstarted."""
        stage = await _stage()
        stage.policy.tainted[SINK, LABEL] = DENY
        await stage.call(TAINT)
        sink = await stage.call(SINK, **WRITE)
        await stage.settle()
        assert stage.stored(sink.id).state is CallState.DENIED
        await stage.check_all_ended()

    async def test_nothing_new(self) -> None:
        """A label that the agent has already makes nobody ask again."""
        stage = await _stage()
        await _tainted(stage)
        asked = stage.policy.asked
        calls = [await stage.call(TAINT, code=str(number)) for number in range(3)]
        await stage.settle()
        assert [stage.stored(call.id).state for call in calls] == [CallState.SUCCEEDED] * 3
        assert stage.policy.asked == asked + 3

    async def test_many_at_once(self) -> None:
        """Calls that would all bring the same label first are asked again once, and run."""
        stage = await _stage(max_running=10)
        calls = [await stage.call(TAINT, code=str(number)) for number in range(10)]
        await stage.settle()
        assert {stage.stored(call.id).state for call in calls} == {CallState.SUCCEEDED}
        assert max(len(stage.stored(call.id).evaluations) for call in calls) == 2

    async def test_memory_is_behind(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A label whose commit's answer was lost is in no memory, and holds all the same."""
        stage = await _stage()
        store = stage.life.world.store

        async def refuse(_: CallId) -> Call | None:
            raise StoreUnavailable("it cannot be read now")

        with monkeypatch.context() as unreadable:
            unreadable.setattr(store, "get_call", refuse)
            taint = await stage.call(TAINT)
            stage.disk.fail_next(Fault.AFTER)
            await stage.settle()
        assert Step.START in stage.steps(taint.id)
        assert (stage.life.world.labels.of(AGENT.id), stage.disk.labels[AGENT.id]) == (
            frozenset(),
            {LABEL},
        )
        sink = await stage.call(SINK, **WRITE)
        await stage.settle()
        assert stage.stored(sink.id).state is CallState.HELD
        assert Step.START not in stage.steps(sink.id)
        assert _labels(stage) == {LABEL}


class TestLives:
    @pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name)
    async def test_dying_at_a_write(self, fault: Fault) -> None:
        """Whichever write the broker dies at: what its tool began with, the next life knows of."""
        undisturbed = await _stage()
        await undisturbed.insist(TAINT, "request")
        await undisturbed.settle()
        for write in range(1, undisturbed.disk.writes + 1):
            stage = Stage()
            stage.policy.labels[TAINT] = [LABEL]
            stage.policy.tainted[SINK, LABEL] = HOLD
            stage.crash_at(write, fault)
            await stage.start()
            call = await stage.insist(TAINT, "request")
            await stage.settle()
            began = stage.host.began.total()
            await stage.restart()
            await stage.settle()
            started = Step.START in stage.steps(call)
            assert (_labels(stage) == {LABEL}, began <= started) == (started, True), write
            sink = await stage.call(SINK, **WRITE)
            await stage.settle()
            wanted = CallState.HELD if started else CallState.SUCCEEDED
            assert stage.stored(sink.id).state is wanted, write

    async def test_queued_over_a_restart(self) -> None:
        """A call that waits for a slot is judged after a restart with the labels of then."""
        stage = await _stage(max_running=1)
        await stage.call(TAINT, code=SLEEP)
        await stage.settle()
        sink = await stage.call(SINK, **WRITE)
        assert sink.state is CallState.HELD
        await stage.vote(sink.id)
        stage.policy.tainted[SINK, LABEL] = DENY
        await stage.restart()
        await stage.settle()
        assert stage.stored(sink.id).state is CallState.DENIED


class TestShown:
    async def test_to_the_reviewer(self) -> None:
        """The view names the labels that policy saw, and those that the call would bring."""
        stage = await _stage()
        await _tainted(stage)
        stage.policy.labels[HELD] = ["more"]
        held = await stage.call(HELD)
        hold = held.hold
        assert hold is not None
        body = stage.disk.documents[hold.view_sha256].body
        assert body["session_labels"] == [LABEL]
        text = str(body["text"])
        assert f'(of what its agent was given so far)\n| "{LABEL}"\n' in text
        assert '| label for its agent: "more"\n' in text

    async def test_to_whoever_checks(self) -> None:
        """CheckCall says what policy would say under the agent's labels, and labels nobody."""
        stage = await _stage()

        async def effects() -> list[str]:
            checker, said = Checker(stage.life.world), []
            for tool, arguments in ((TAINT, '{"code":"1"}'), (SINK, '{"content":"b","path":"a"}')):
                wish = Wish(
                    tool=tool,
                    arguments_json=arguments,
                    request_id="",
                    session_id="",
                    parent_call="",
                    purpose="",
                    timeout_s=None,
                )
                said.append((await checker.check(AGENT, wish)).decision.effect.value)
            return said

        assert await effects() == [ALLOW, ALLOW]
        assert _labels(stage) == frozenset()
        await _tainted(stage)
        assert await effects() == [ALLOW, HOLD]


class TestBounds:
    async def test_most_labels(self) -> None:
        """An agent gets as many labels as one may have; a call that brings one more is denied."""
        stage = await _stage()
        names = [f"label-{number}" for number in range(MOST_LABELS)]
        stage.policy.labels[TAINT] = names
        await _tainted(stage)
        assert _labels(stage) == set(names)
        again = await _tainted(stage)
        assert stage.stored(again.id).state is CallState.SUCCEEDED
        stage.policy.labels[TAINT] = ["one-more"]
        over = await _tainted(stage)
        assert stage.stored(over.id).evaluations[-1].rule == "broker.policy_invalid"
        assert "label by kinds of content" in str(
            stage.disk.documents[stage.stored(over.id).evaluations[-1].decision_sha256].body
        )
        assert _labels(stage) == set(names)

    async def test_a_denial_keeps_its_rule(self) -> None:
        """What policy denies is denied by its own rule, however many labels it names."""
        stage = await _stage()
        stage.policy.labels[TAINT] = [f"label-{number}" for number in range(MOST_LABELS + 1)]
        stage.policy.rules[TAINT] = DENY
        call = await _tainted(stage)
        assert stage.stored(call.id).evaluations[-1].rule == "fake.deny"
