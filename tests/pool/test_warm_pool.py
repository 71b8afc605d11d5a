"""What the pool does with what calls ask for, on an engine in memory."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from broker.core.destination import read_destination
from broker.core.egress import Egress, EgressProtocol
from broker.core.pool import KEPT_S, WINDOW_S, Budget
from broker.core.sandbox import Collect, Job, Profile
from broker.errors import SandboxError
from broker.pool import LOOK_S, LULL_S, YIELD_S, WarmPool
from tests.pool.test_demand import OTHER, PROFILE
from tests.ports.fake_clock import FakeClock
from tests.ports.fake_sandbox import ContainerHost, FakeSandbox, FakeSandboxEngine, Trouble
from tests.story.stage import Alarms, SeededEntropy

JOB = Job(
    arguments=b'{"code": "1"}',
    workspace=(),
    inputs=(),
    timeout_s=1,
    output_bytes=100,
    collect=Collect.OUTPUTS,
)

WITH_EGRESS = replace(
    PROFILE,
    egress=Egress(destinations=(read_destination("site.test:80"),), protocol=EgressProtocol.HTTP),
)


async def _refuse() -> None:
    raise RuntimeError("can't start new thread")


class Told(Alarms):
    """What operators see."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[bool] = []
        self.waiting = 0
        self.some_wait = asyncio.Event()
        self.is_broken = False

    def sandbox_taken(self, *, was_waiting: bool) -> None:
        """Keep it."""
        self.taken.append(was_waiting)

    def sandboxes_waiting(self, containers: int) -> None:
        """Keep it."""
        if self.is_broken:
            raise RuntimeError("a bug of the telemetry")
        self.waiting = containers
        if containers:
            self.some_wait.set()
        else:
            self.some_wait.clear()


class SlowEngine(FakeSandboxEngine):
    """One that makes containers of calls called `slow` when it is told to."""

    def __init__(self, host: ContainerHost, clock: FakeClock) -> None:
        super().__init__(host, clock, boot="b")
        self.go_on = asyncio.Event()
        self.asked: list[str] = []
        self.slow_ahead = False

    async def prepare(self, profile: Profile, *, slot: str) -> FakeSandbox:
        """Start a container, now or later."""
        self.asked.append(slot)
        if slot == "slow" or (self.slow_ahead and slot != "call"):
            await self.go_on.wait()
        return await super().prepare(profile, slot=slot)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A pool with all that stands around it."""

    pool: WarmPool
    engine: SlowEngine
    host: ContainerHost
    clock: FakeClock
    told: Told

    async def settle(self) -> None:
        """Let everything happen that needs no time."""
        for _ in range(50):
            await asyncio.sleep(0)

    async def ask(self, profile=PROFILE, slot: str = "call"):
        """Ask for a container, then let the pool do what it does."""
        sandbox = await self.pool.prepare(profile, slot=slot)
        await self.rest()
        return sandbox

    async def rest(self) -> None:
        """Let the time pass for which the pool leaves a call alone."""
        await self.settle()
        self.clock.advance(timedelta(seconds=LULL_S))
        await self.settle()


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    """A pool of up to three."""
    host, clock, told = ContainerHost(), FakeClock(), Told()
    engine = SlowEngine(host, clock)
    pool = WarmPool(
        engine,
        Budget(containers=3, memory_bytes=1 << 40),
        clock=clock,
        entropy=SeededEntropy(1),
        telemetry=told,
    )
    yield Place(pool=pool, engine=engine, host=host, clock=clock, told=told)
    await pool.close()
    assert host.containers == {}
    assert clock.sleepers == 0


class TestTake:
    async def test_first_is_made_then_one_waits(self, place: Place) -> None:
        """The first call waits for its container, the second finds one; another follows it."""
        first, second = await place.ask(), await place.ask()
        assert place.told.taken == [False, True]
        assert (first.slot, second.slot == "call") == ("call", False)
        assert place.told.waiting == 1
        assert len(place.host.containers) == 3

    async def test_each_is_handed_out_once(self, place: Place) -> None:
        """However many ask at once, nobody gets what another has."""
        await place.ask()
        got = await asyncio.gather(*(place.pool.prepare(PROFILE, slot=str(n)) for n in range(20)))
        assert len({sandbox.slot for sandbox in got}) == 20
        await place.rest()
        assert place.told.waiting == 3

    @pytest.mark.parametrize(
        "change",
        [{"image": "sha256:3"}, {"runtime": "runsc"}, {"memory_bytes": 1}, {"pids": 33},
         {"tmp_bytes": 2}, {"cpu_millicores": 999}, {"command": ("run", "x")}],
        ids=lambda change: next(iter(change)),
    )  # fmt: skip
    async def test_of_exactly_the_profile(self, place: Place, change) -> None:
        """One that differs in anything goes past what waits; its twin takes it."""
        await place.ask()
        await place.ask(replace(PROFILE, **change))
        assert place.told.taken == [False, False]
        await place.ask()
        assert place.told.taken == [False, False, True]

    async def test_with_egress_is_made_for_the_call(self, place: Place) -> None:
        """Its sockets are the call's own: none waits."""
        for _ in range(2):
            sandbox = await place.ask(WITH_EGRESS)
            assert sandbox.slot == "call"
        assert (place.told.taken, len(place.host.containers)) == ([False, False], 1)

    async def test_one_that_is_gone_is_not_handed_out(self, place: Place) -> None:
        """What was killed while it waited is cleared away; the call gets another."""
        await place.ask()
        (waiting,) = set(place.host.containers) - {"call"}
        del place.host.containers[waiting]
        sandbox = await place.ask(slot="second")
        assert (sandbox.slot, place.told.taken) == ("second", [False, False])
        assert (await sandbox.run(JOB)).exit_code == 0

    async def test_one_that_is_of_no_use_is_removed(self, place: Place) -> None:
        """What nobody can be given any more is still there for the Engine: it does not stay."""
        await place.ask()
        (spoilt,) = place.pool._waiting[PROFILE]
        await spoilt.run(JOB)
        sandbox = await place.ask(slot="second")
        assert sandbox.slot == "second"
        assert spoilt.slot not in place.host.containers


class TestSize:
    async def test_follows_demand_down(self, place: Place) -> None:
        """What nobody asked for in some minutes is removed; nothing wakes after that."""
        await place.ask()
        await place.ask(OTHER)
        assert place.told.waiting == 2
        place.clock.advance(timedelta(seconds=KEPT_S))
        await place.settle()
        assert place.told.waiting == 0
        assert set(place.host.containers) == {"call"}
        assert place.clock.sleepers == 0

    async def test_follows_the_rate_down(self, place: Place) -> None:
        """When calls have become fewer, fewer wait as soon as the window is over."""
        for _ in range(11):
            await place.ask()
        assert place.told.waiting == 2
        place.clock.advance(timedelta(seconds=WINDOW_S))
        await place.settle()
        assert place.told.waiting == 1

    async def test_gives_way_to_calls(self, place: Place) -> None:
        """While a call waits for its container none is made ahead."""
        waiting = asyncio.create_task(place.pool.prepare(PROFILE, slot="slow"))
        await place.settle()
        await place.ask(OTHER, slot="other")
        assert place.engine.asked == ["slow", "other"]
        place.engine.go_on.set()
        await waiting
        await place.settle()
        assert (len(place.engine.asked), place.told.waiting) == (4, 2)

    async def test_leaves_a_call_that_was_served_alone(self, place: Place) -> None:
        """The next one is made a moment after one was handed out, not at once."""
        await place.ask()
        await place.pool.prepare(PROFILE, slot="served")
        await place.settle()
        assert (place.told.waiting, len(place.engine.asked)) == (0, 2)
        place.clock.advance(timedelta(seconds=LULL_S))
        await place.settle()
        assert (place.told.waiting, len(place.engine.asked)) == (1, 3)

    @pytest.mark.parametrize("trouble", [Trouble.BROKEN_MAKER, Trouble.NOT_MADE])
    async def test_an_engine_that_refuses_is_asked_again_by_the_next_call(
        self, place: Place, trouble: Trouble
    ) -> None:
        """A fault of what is made ahead is told once, costs no call, and ends nothing."""
        await place.ask()
        place.host.troubles.append(trouble)
        await place.ask()
        assert (place.told.heard, place.told.waiting) == (["no container could be made ahead"], 0)
        place.clock.advance(timedelta(seconds=60))
        await place.settle()
        assert (len(place.told.heard), len(place.engine.asked)) == (1, 3)
        await place.ask()
        assert (len(place.told.heard), place.told.waiting) == (1, 1)

    async def test_one_that_cannot_be_made_keeps_no_other_waiting(self, place: Place) -> None:
        """A call whose container cannot be had wants none ahead: others have theirs."""
        for _ in range(3):
            place.host.troubles.append(Trouble.NOT_MADE)
            with pytest.raises(SandboxError):
                await place.ask(OTHER)
            await place.ask()
        assert place.told.taken == [False, True, True]
        assert (place.told.waiting, place.told.heard) == (1, [])

    async def test_a_call_with_egress_wakes_the_pool_too(self, place: Place) -> None:
        """What it kept from being made while its own container was is made when that is there."""
        waiting = asyncio.create_task(place.pool.prepare(WITH_EGRESS, slot="slow"))
        await place.settle()
        await place.ask()
        assert place.told.waiting == 0
        place.engine.go_on.set()
        await waiting
        await place.settle()
        assert place.told.waiting == 1

    async def test_one_that_hangs_does_not_stop_it(self, place: Place) -> None:
        """A container that is not made for long keeps none from being made ahead for long."""
        waiting = asyncio.create_task(place.pool.prepare(OTHER, slot="slow"))
        await place.settle()
        await place.ask()
        assert place.told.waiting == 0
        place.clock.advance(timedelta(seconds=YIELD_S))
        await place.settle()
        assert place.told.waiting == 1
        place.engine.go_on.set()
        await waiting

    async def test_each_one_waits_anew_behind_one_that_hangs(self, place: Place) -> None:
        """While a call waits for its container the others are made at intervals, not in a row."""
        waiting = asyncio.create_task(place.pool.prepare(OTHER, slot="slow"))
        await place.settle()
        await place.ask()
        await place.ask(replace(PROFILE, pids=33))
        place.clock.advance(timedelta(seconds=YIELD_S))
        await place.settle()
        assert place.told.waiting == 1
        place.clock.advance(timedelta(seconds=YIELD_S))
        await place.settle()
        assert place.told.waiting == 2
        place.engine.go_on.set()
        await waiting

    async def test_a_lack_that_ended_by_itself_does_not_count(self, place: Place) -> None:
        """What was lacking once, and is wanted no more, gives the next lack no start."""
        await place.ask()
        waiting = asyncio.create_task(place.pool.prepare(OTHER, slot="slow"))
        place.clock.advance(timedelta(seconds=KEPT_S - YIELD_S / 2))
        await place.settle()
        (dead,) = set(place.host.containers) - {"call"}
        del place.host.containers[dead]
        await place.ask(WITH_EGRESS)
        place.clock.advance(timedelta(seconds=KEPT_S))
        await place.settle()
        assert (place.told.waiting, place.clock.sleepers) == (0, 0)
        await place.ask()
        assert place.told.waiting == 0
        place.engine.go_on.set()
        await waiting

    async def test_the_dead_are_replaced(self, place: Place) -> None:
        """What is killed while it waits is cleared away before a call comes, and made anew."""
        await place.ask()
        # Past the last time at which less would be wanted: from here on only the look wakes it.
        place.clock.advance(timedelta(seconds=WINDOW_S))
        await place.settle()
        (dead,) = set(place.host.containers) - {"call"}
        del place.host.containers[dead]
        place.clock.advance(timedelta(seconds=LOOK_S))
        await place.settle()
        assert place.told.waiting == 1
        assert dead not in place.host.containers
        await place.ask()
        assert place.told.taken == [False, True]

    async def test_one_that_cannot_be_removed_does_not_end_it(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A fault while one is discarded is told; the pool goes on."""
        await place.ask()
        (waiting,) = place.pool._waiting[PROFILE]
        monkeypatch.setattr(waiting, "discard", _refuse)
        place.clock.advance(timedelta(seconds=KEPT_S))
        await place.settle()
        assert place.told.heard == ["a waiting container could not be removed"]
        monkeypatch.undo()
        await waiting.discard()
        await place.ask()
        await place.ask()
        assert place.told.taken == [False, False, True]

    async def test_nothing_is_made_after_its_close(self, place: Place) -> None:
        """A call that gets its container while the pool closes starts nothing."""
        waiting = asyncio.create_task(place.pool.prepare(PROFILE, slot="slow"))
        await place.settle()
        await place.pool.close()
        place.engine.go_on.set()
        await (await waiting).discard()
        await place.settle()
        assert place.engine.asked == ["slow"]

    async def test_a_call_hears_why_there_is_none(self, place: Place) -> None:
        """A fault of its own container is the call's."""
        place.host.troubles.append(Trouble.NOT_MADE)
        with pytest.raises(SandboxError):
            await place.pool.prepare(PROFILE, slot="call")


class TestShare:
    async def test_called_in_turn(self, place: Place) -> None:
        """Of tools that are called in turn, one more than may wait, most calls find one waiting."""
        tools = [replace(PROFILE, image=f"sha256:{number}") for number in range(10, 14)]
        for number in range(40):
            await place.ask(tools[number % 4])
            place.clock.advance(timedelta(seconds=2))
            await place.settle()
        # Three of the four, from their second call on.
        assert place.told.taken.count(True) == 27
        # No more is made than calls took, with what waits at the end.
        assert len(place.engine.asked) <= 40 + 3

    async def test_beside_others(self, place: Place) -> None:
        """A tool that is called steadily finds one waiting, whatever is called between."""
        others = [replace(PROFILE, image=f"sha256:{number}") for number in range(10, 13)]
        found = []
        for _ in range(10):
            await place.ask()
            found.append(place.told.taken[-1])
            for other in others:
                await place.ask(other)
                place.clock.advance(timedelta(seconds=1))
                await place.settle()
        assert found == [False] + [True] * 9


class TestKeeper:
    async def test_meets_a_call_while_it_clears_away(self, place: Place) -> None:
        """A call that comes while those are removed that died leaves the pool at work."""
        await asyncio.gather(*(place.ask() for _ in range(20)))
        assert place.told.waiting >= 2
        place.host.containers.clear()
        place.host.troubles.append(Trouble.SLOW_REMOVAL)
        place.clock.advance(timedelta(seconds=LOOK_S))
        await place.settle()
        await place.pool.prepare(PROFILE, slot="meets the dead")
        place.clock.advance(timedelta(seconds=10))
        await place.rest()
        await place.rest()
        assert place.told.waiting >= 1

    async def test_outlives_a_fault(self, place: Place) -> None:
        """A bug of ours is alarmed; the pool goes on a second later."""
        await place.ask()
        place.told.is_broken = True
        with pytest.raises(RuntimeError):
            await place.ask()
        place.told.is_broken = False
        place.host.containers.clear()
        place.clock.advance(timedelta(seconds=LOOK_S))
        await place.rest()
        await place.ask()
        assert place.told.waiting == 1


class TestRenew:
    async def test_nobody_gets_one_from_before(self, place: Place) -> None:
        """What waits when the policy changes is removed; what is made after it is handed out."""
        await place.ask()
        (before,) = set(place.host.containers) - {"call"}
        place.pool.renew()
        # At once: a call that comes in the same moment finds none.
        assert place.pool.at_hand(PROFILE) is None
        await place.rest()
        assert before not in place.host.containers
        after = place.pool.at_hand(PROFILE)
        assert after is not None
        assert after.slot not in (before, "call")

    async def test_nor_one_that_was_being_made(self, place: Place) -> None:
        """A container that was begun before is removed when it is ready."""
        place.engine.slow_ahead = True
        await place.ask()
        assert place.told.waiting == 0
        place.pool.renew()
        place.engine.slow_ahead = False
        place.engine.go_on.set()
        await place.rest()
        begun_before, made_after = place.engine.asked[1:]
        assert begun_before not in place.host.containers
        waiting = place.pool.at_hand(PROFILE)
        assert waiting is not None
        assert waiting.slot == made_after
