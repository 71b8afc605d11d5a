"""What follows from a bundle that its source does not confirm."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from broker.adapters.bundle_sources import ConfirmationFile
from broker.core.decision import Limits
from broker.core.freshness import Freshness
from broker.core.lifecycle import CallState
from broker.errors import PolicyUnconfirmed
from broker.execute import Executor
from broker.judge import Judge
from broker.ports import Confirmation, Telemetry
from tests.bundles.signed import Team
from tests.bundles.supplied import REFUSE_AFTER, STALE_AFTER, Supplied, supplied
from tests.ports.memory_store import Fault
from tests.story.stage import SeededEntropy, Stage

SECOND = timedelta(seconds=1)
LIMITS = Limits(
    cpu_millicores=1000,
    memory_bytes=1 << 30,
    pids=64,
    timeout_s=60,
    output_bytes=1 << 20,
    tmp_bytes=1 << 20,
)


@pytest.fixture
async def broker(folder: Path, team: Team) -> AsyncIterator[Supplied]:
    """A broker whose bundle was confirmed just now, which refuses by one that is too stale."""
    async with supplied(folder, Stage(), team) as ready:
        ready.put(ready.team.bundle(5))
        await ready.watch.look()
        await ready.freshness.tell()
        _decide_by(ready)
        yield ready


def _decide_by(broker: Supplied) -> None:
    """Let the broker's calls be judged by that policy."""
    stage = broker.stage
    judge = Judge(
        broker.policy,
        stage.clock,
        SeededEntropy(1),
        stage.alarms,
        LIMITS,
        freshness=broker.freshness,
    )
    stage.life.world = replace(stage.life.world, judge=judge)
    stage.life.executor = Executor(stage.life.world)


async def outcome(broker: Supplied) -> tuple[CallState, str]:
    """Call a tool that policy allows; give what was decided."""
    call = await broker.stage.call()
    await broker.stage.settle()
    return call.state, call.evaluations[0].rule


ALLOWED = (CallState.QUEUED, "fake.allow")
DENIED = (CallState.DENIED, "broker.policy_stale")


class TestRefusing:
    async def test_denied_until_confirmed(self, broker: Supplied) -> None:
        """Calls are decided to the last moment, then denied, and decided again once it answers."""
        broker.stage.clock.advance(REFUSE_AFTER - SECOND)
        assert await outcome(broker) == ALLOWED
        broker.stage.clock.advance(SECOND)
        assert await outcome(broker) == DENIED
        assert await broker.watch.look()
        assert await outcome(broker) == ALLOWED

    async def test_policy_is_not_asked(self, broker: Supplied) -> None:
        """What may not decide is not asked either."""
        broker.stage.clock.advance(REFUSE_AFTER)
        await outcome(broker)
        assert broker.policy._seat.engine.asked == 0  # type: ignore[attr-defined]

    async def test_message(self, broker: Supplied) -> None:
        """The security team reads where, what and since when; its agent reads none of that."""
        since = broker.freshness.confirmed_at
        assert since is not None
        broker.stage.clock.advance(REFUSE_AFTER)
        with pytest.raises(PolicyUnconfirmed) as caught:
            broker.freshness.check()
        for word in (str(broker.file), "test-5", since.isoformat()[:19]):
            assert word in caught.value.message
        answer = await broker.stage.admit()
        (reason,) = answer.decision["reasons"]
        assert str(broker.file) in reason["message"]
        assert str(broker.file) not in reason["agent_message"]

    async def test_a_refused_bundle_confirms_nothing(self, broker: Supplied) -> None:
        """A source that goes on offering what is not taken is as silent as one that is down."""
        broker.put(broker.team.bundle(4))
        for _ in range(4):
            broker.stage.clock.advance(REFUSE_AFTER / 4)
            await broker.watch.look()
        assert await outcome(broker) == DENIED

    async def test_activated_by_hand(self, broker: Supplied) -> None:
        """Who activates a bundle says that it is the one: calls are decided by it."""
        broker.stage.clock.advance(REFUSE_AFTER)
        await broker.activate(6)
        assert await outcome(broker) == ALLOWED

    async def test_alarm_alone(self, folder: Path, team: Team) -> None:
        """Where nobody wants calls refused, none is, however long it takes."""
        async with supplied(folder, Stage(), team, refuse_after=None) as broker:
            _decide_by(broker)
            broker.stage.clock.advance(timedelta(days=999))
            assert broker.freshness.state is Freshness.STALE
            assert await outcome(broker) == ALLOWED


class _Heard(Telemetry):
    """A `Telemetry` that keeps how fresh policy was."""

    def __init__(self) -> None:
        self.told: list[tuple[Freshness, datetime | None]] = []
        self.alarms: list[str] = []

    def policy_freshness(self, state: Freshness, confirmed_at: datetime | None) -> None:
        """Keep it."""
        self.told.append((state, confirmed_at))

    def alarm(self, what: str, error: BaseException) -> None:
        """Keep it."""
        self.alarms.append(what)


class TestTold:
    async def test_each_change_once(self, broker: Supplied) -> None:
        """Each change for the worse is one alarm; each change at all is one event."""
        heard = broker.stage.alarms.heard
        for step in (timedelta(0), STALE_AFTER, SECOND, REFUSE_AFTER - STALE_AFTER, SECOND):
            broker.stage.clock.advance(step)
            await broker.freshness.tell()
        assert heard == ["policy is stale", "policy is refusing"]
        await broker.watch.look()
        await broker.freshness.tell()
        assert heard == ["policy is stale", "policy is refusing"]
        assert await broker.events() == ["policy.stale", "policy.refusing", "policy.confirmed"]

    async def test_shown_all_the_time(self, broker: Supplied) -> None:
        """Metrics get state and time whenever people are told, also where nothing changed."""
        heard = broker.freshness._telemetry = _Heard()
        since = broker.freshness.confirmed_at
        await broker.freshness.tell()
        broker.stage.clock.advance(STALE_AFTER)
        await broker.freshness.tell()
        assert heard.told == [(Freshness.FRESH, since), (Freshness.STALE, since)]

    async def test_without_the_watch(self, broker: Supplied) -> None:
        """A watch that hangs keeps nobody from hearing of it: the alarm has a loop of its own."""
        deciding: list[bool] = []

        async def announce(decides: bool) -> None:
            deciding.append(decides)

        telling = asyncio.ensure_future(broker.freshness.run(announce))
        for number, step in enumerate((timedelta(0), STALE_AFTER, REFUSE_AFTER), start=1):
            broker.stage.clock.advance(step)
            await broker.stage.run_until(lambda wanted=number: len(deciding) == wanted)
        assert broker.stage.alarms.heard == ["policy is stale", "policy is refusing"]
        assert deciding == [True, True, False]
        telling.cancel()

    async def test_store_takes_nothing(self, broker: Supplied) -> None:
        """The alarm does not wait for the store; its event comes as soon as there is room."""
        broker.stage.clock.advance(STALE_AFTER)
        broker.stage.disk.fail_next(Fault.BEFORE)
        await broker.freshness.tell()
        assert broker.stage.alarms.heard == ["policy is stale"]
        assert await broker.events() == []
        await broker.freshness.tell()
        assert broker.stage.alarms.heard == ["policy is stale"]
        assert await broker.events() == ["policy.stale"]


class TestRestart:
    async def test_time_goes_on(self, broker: Supplied, folder: Path) -> None:
        """A restart makes nothing fresher: time counts from the confirmation that is kept."""
        broker.stage.clock.advance(STALE_AFTER)
        confirmed_at = broker.freshness.confirmed_at
        async with supplied(folder, broker.stage, broker.team) as next_life:
            assert next_life.freshness.confirmed_at == confirmed_at
            assert next_life.freshness.state is Freshness.STALE

    @pytest.mark.parametrize("loss", ["nothing kept", "of another bundle", "of a time to come"])
    async def test_in_doubt(self, broker: Supplied, folder: Path, loss: str) -> None:
        """What is kept of no bundle, another one or the future confirms nothing."""
        file = broker.file.with_name("confirmed")
        text, sha256 = file.read_text(), broker.policy.bundle_sha256
        if loss == "nothing kept":
            file.unlink()
        elif loss == "of another bundle":
            file.write_text(text.replace(sha256, "0" * 64))
        else:
            file.write_text(text.replace('"20', '"21'))
        async with supplied(folder, broker.stage, broker.team) as next_life:
            assert next_life.freshness.state is Freshness.REFUSING

    async def test_kept_after_each_confirmation(self, broker: Supplied, folder: Path) -> None:
        """The latest confirmation is what the next life goes on from."""
        broker.stage.clock.advance(STALE_AFTER)
        await broker.watch.look()
        await broker.freshness.tell()
        async with supplied(folder, broker.stage, broker.team) as next_life:
            assert next_life.freshness.confirmed_at == broker.stage.clock.now()

    async def test_confirmed_while_kept(self, broker: Supplied, folder: Path, team: Team) -> None:
        """What is confirmed while the one before is being written is kept after it."""

        class Slow(ConfirmationFile):
            async def write(self, confirmation: Confirmation) -> None:
                """Write it, while time passes and the source confirms again."""
                broker.stage.clock.advance(SECOND)
                broker.freshness.confirm()
                await super().write(confirmation)

        keeper, broker.freshness._keeper = broker.freshness._keeper, Slow(folder / "confirmed")
        broker.stage.clock.advance(SECOND)
        broker.freshness.confirm()
        await broker.freshness.tell()
        broker.freshness._keeper = keeper
        await broker.freshness.tell()
        async with supplied(folder, broker.stage, team) as next_life:
            assert next_life.freshness.confirmed_at == broker.stage.clock.now()

    async def test_not_kept(self, broker: Supplied) -> None:
        """A confirmation that cannot be kept counts, and is told once."""
        broker.file.with_name(f".confirmed.{os.getpid()}.new").mkdir()
        broker.stage.clock.advance(STALE_AFTER)
        await broker.watch.look()
        await broker.freshness.tell()
        await broker.freshness.tell()
        assert broker.stage.alarms.heard == ["a confirmation of policy is not kept"]
        assert broker.freshness.state is Freshness.FRESH
