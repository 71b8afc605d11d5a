"""What an agent gains by asking at the wrong moment."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from broker.core.call import Cause
from broker.core.document import Document
from broker.core.ids import AgentId, Sha256
from broker.core.lifecycle import CallState, Step
from broker.core.sandbox import FileChange
from broker.core.workspace import Entry, tree_document
from broker.errors import ResourceExhausted
from broker.ports import PolicyAnswer
from broker.sessions import Sessions
from tests.ports.fake_sandbox import SLEEP
from tests.ports.memory_store import Fault
from tests.story.fake_policy import DENY, FakePolicy
from tests.story.stage import AGENT, ALLOWED, APPROVER, HELD, SeededEntropy, Stage


class SlowPolicy(FakePolicy):
    """A `FakePolicy` whose answers take time: the clock moves while it thinks."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.policy.rules)
        self.stage = stage
        self.takes_s = 0.0

    async def evaluate(self, policy_input: bytes) -> PolicyAnswer:
        """Think, then answer."""
        answer = await super().evaluate(policy_input)
        self.stage.clock.advance(timedelta(seconds=self.takes_s))
        return answer


class TestStart:
    async def test_run_by_passes_while_policy_thinks(self) -> None:
        """An approval that runs out while policy is asked again starts nothing."""
        stage = Stage()
        policy = stage.policy = SlowPolicy(stage)
        await stage.start()
        call = await stage.call(HELD)
        policy.takes_s = 601.0
        await stage.vote(call.id)
        await stage.pass_time(0)
        assert stage.stored(call.id).cause is Cause.RUN_BY_PASSED
        assert stage.stored(call.id).state is CallState.EXPIRED
        assert Step.START not in stage.steps(call.id)
        await stage.check_all_ended()


class TestOpenCalls:
    async def test_at_once(self) -> None:
        """Calls that come at once count each other against the number that may be open."""
        stage = Stage()
        await stage.start()
        admission = stage.life.world.admission
        admission._quotas = replace(admission._quotas, open_calls=1)
        asking = (stage.call(HELD, f"r-{number}") for number in range(8))
        answers = await asyncio.gather(*asking, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, ResourceExhausted)]
        assert [error.reason for error in refused] == ["TOO_MANY_OPEN_CALLS"] * 7
        assert [call.state for call in stage.disk.calls.values()] == [CallState.HELD]


class TestHolds:
    async def test_at_once(self) -> None:
        """Calls that come at once count each other against the number that may be held."""
        stage = Stage()
        await stage.start()
        admission = stage.life.world.admission
        admission._quotas = replace(admission._quotas, held_calls=1)
        calls = await asyncio.gather(*(stage.call(HELD, f"r-{number}") for number in range(8)))
        states = sorted(call.state.value for call in calls)
        assert states == ["DENIED"] * 7 + ["HELD"]

    async def test_place_is_given_back(self) -> None:
        """The place of a hold that has ended, or never was recorded, is free for the next."""
        stage = Stage()
        await stage.start()
        admission = stage.life.world.admission
        admission._quotas = replace(admission._quotas, held_calls=1)
        first = await stage.call(HELD)
        await stage.vote(first.id, approve=False)
        await stage.settle()
        assert (await stage.call(HELD)).state is CallState.HELD


class TestBudget:
    async def test_denied_while_the_store_is_away(self) -> None:
        """A denial that the store takes at the fifth attempt gives back one call, not five."""
        stage = Stage()
        await stage.start()
        await stage.call()
        held = await stage.call(HELD)
        await stage.settle()
        stage.policy.rules[HELD] = DENY
        ahead = stage.disk.writes + 2
        for write in range(ahead, ahead + 4):
            stage.disk.faults[write] = Fault.BEFORE
        await stage.vote(held.id, APPROVER)
        for _ in range(8):
            await stage.pass_time(1)
        assert stage.stored(held.id).state is CallState.DENIED
        books = stage.life.world.admission.history(AGENT.id, "default", stage.clock.now())
        assert books.denied[2] == 1
        assert books.budget_spent == 1


class TestSlots:
    async def test_one_agent_takes_all(self) -> None:
        """An agent with many long calls makes another wait for one of them, not for all."""
        stage = Stage(max_running=2)
        await stage.start()
        await asyncio.gather(*(stage.call(ALLOWED, f"r-{n}", code=SLEEP) for n in range(20)))
        await stage.settle()
        other = replace(AGENT, id=AgentId("agent2"))
        stage.life.world.people._identities[other.id] = other  # type: ignore[index]
        late = await stage.call(agent=other)
        await stage.pass_time(61)
        assert stage.stored(late.id).state is CallState.SUCCEEDED


class SlowStore:
    """A store whose answer about a tree is late: what it says was true when it was asked."""

    def __init__(self, document: Document) -> None:
        self.document_ = document
        self.answered = asyncio.Event()

    async def workspace_tree(self, agent: AgentId, session_id: str) -> Sha256 | None:
        """Say that there is none yet, late."""
        await self.answered.wait()
        return None


class TestWorkspace:
    async def test_read_is_overtaken(self) -> None:
        """A session's tree that moved while it was being read is not put back."""
        files = {"f": Entry(sha256=Sha256("0" * 64), size_bytes=1)}
        document = tree_document(files, salt=bytes(16))
        store = SlowStore(document)
        sessions = Sessions(store, SeededEntropy(1))  # type: ignore[arg-type]
        reading = asyncio.ensure_future(sessions.current(AgentId("a"), "s"))
        await asyncio.sleep(0)
        sessions.moved(AgentId("a"), "s", document)
        store.answered.set()
        await reading
        assert (await sessions.current(AgentId("a"), "s")).sha256 == document.sha256

    async def test_full_keeps_nothing(self) -> None:
        """What a full workspace did not take is not kept in the store either."""
        stage = Stage()
        await stage.start()
        data = b"x" * ((1 << 20) + 1)
        arguments = b'{"content":"x","path":"f"}'
        stage.host.changes[arguments] = (FileChange(path="f", data=data),)
        call = await stage.call("workspace_write", path="f", content="x")
        await stage.settle()
        assert stage.stored(call.id).cause is Cause.WORKSPACE_FULL
        assert not [size for size in map(len, stage.disk.files.values()) if size > 1 << 20]


class TestUnknownRuntime:
    async def test_is_a_denial(self) -> None:
        """A tool whose runtime has no place in the order of isolation is denied, on the record."""
        stage = Stage()
        toolbox = stage._toolbox
        bound = toolbox.find(ALLOWED)
        assert bound is not None
        odd = replace(bound, tool=replace(bound.tool, runtime="crun"))
        toolbox._tools[ALLOWED] = odd
        await stage.start()
        call = await stage.call()
        assert call.state is CallState.DENIED
        assert [entry.rule for entry in call.evaluations] == ["broker.policy_invalid"]
        await stage.check_all_ended()


class TestClocks:
    @pytest.mark.parametrize("name", ["decide_within_s", "run_within_s"])
    async def test_beyond_the_calendar(self, name: str) -> None:
        """A clock that no calendar holds is a denial on the record, not a fault."""
        stage = Stage()
        stage.policy = EndlessPolicy(stage.policy.rules, name)
        await stage.start()
        call = await stage.call(HELD)
        assert call.state is CallState.DENIED
        assert [entry.rule for entry in call.evaluations] == ["broker.policy_invalid"]


class EndlessPolicy(FakePolicy):
    """A `FakePolicy` that lets people take the longest time that a decision can say."""

    def __init__(self, rules: Mapping[str, str], clock: str) -> None:
        super().__init__(rules)
        self.clock = clock

    async def evaluate(self, policy_input: bytes) -> PolicyAnswer:
        """Answer with the clock set."""
        answer = await super().evaluate(policy_input)
        approval = answer.output.get("approval")
        if not isinstance(approval, Mapping):
            return answer
        output = {**answer.output, "approval": {**approval, self.clock: 2**53 - 1}}
        return replace(answer, output=output)
