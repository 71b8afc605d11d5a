"""What becomes of the bundles that a folder has: real files, signatures, activations."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.bundle_watch import BundleWatch, Look
from broker.core.freshness import Freshness
from broker.core.trust_root import KeyStatus, TrustRoot
from broker.ports import BundleSource
from tests.bundles.signed import Team, numbered
from tests.bundles.supplied import EVERY, STALE_AFTER, UNUSABLE, Supplied, supplied
from tests.ports.fake_clock import FakeClock
from tests.ports.memory_store import Fault
from tests.story.stage import Stage

MISSING = "no policy bundle could be had"
REFUSED = "a policy bundle was refused"


@pytest.fixture
async def broker(folder: Path, team: Team) -> AsyncIterator[Supplied]:
    """A broker with bundle 5 that looks into an empty folder."""
    async with supplied(folder, Stage(), team) as ready:
        yield ready


async def _after_one(clock: FakeClock) -> None:
    """Let the interval pass; return when the loop waits for the next."""
    clock.sleeping.clear()
    clock.advance(EVERY)
    await clock.sleeping.wait()


def refused(broker: Supplied) -> list[str]:
    """List the alarms about refused bundles."""
    return [alarm for alarm in broker.stage.alarms.heard if alarm == REFUSED]


class TestTaken:
    async def test_newer(self, broker: Supplied) -> None:
        """A signed bundle with a higher number becomes active; found again it is confirmed."""
        broker.put(broker.team.bundle(6))
        assert await broker.watch.look() is Look.ACTIVATED
        broker.stage.clock.advance(EVERY)
        assert await broker.watch.look() is Look.CONFIRMED
        assert broker.freshness.confirmed_at == broker.stage.clock.now()
        assert broker.policy.bundle_revision == "test-6"
        assert await broker.events() == ["policy.activated"]
        assert broker.stage.alarms.heard == []

    async def test_the_active_one(self, broker: Supplied) -> None:
        """The bundle that is active already is confirmed, and nothing is exchanged."""
        broker.put(broker.team.bundle(5))
        assert await broker.watch.look() is Look.CONFIRMED
        assert broker.freshness.confirmed_at == broker.stage.clock.now()
        assert await broker.events() == []

    async def test_by_itself(self, broker: Supplied) -> None:
        """The loop looks at its interval, and goes on after a look in vain."""
        clock = FakeClock()
        watch = BundleWatch(
            broker.source,
            broker.activation,
            broker.freshness,
            every=EVERY,
            clock=clock,
            telemetry=broker.stage.alarms,
        )
        watching = asyncio.ensure_future(watch.run())
        await clock.sleeping.wait()
        assert broker.stage.alarms.heard == []
        await _after_one(clock)
        assert broker.stage.alarms.heard == [MISSING]
        broker.put(broker.team.bundle(6))
        await _after_one(clock)
        assert broker.policy.bundle_revision == "test-6"
        watching.cancel()


class TestRefused:
    @pytest.mark.parametrize(
        "make",
        [
            lambda team: b"<html>log in, please</html>",
            lambda team: b"",
            lambda team: team.bundle(6)[:-20],
            lambda team: team.bundle(6) + b"more",
            lambda team: numbered(6),
            lambda team: Team().bundle(6),
            lambda team: team.bundle(4),
            lambda team: team.bundle(5, "test-5-with-other-content"),
            lambda team: team.bundle(0),
            lambda team: team.bundle(6, UNUSABLE),
        ],
        ids=[
            "another page",
            "empty",
            "half of it",
            "more behind it",
            "unsigned",
            "a foreign key",
            "older",
            "its number taken",
            "without a number",
            "decides nothing",
        ],
    )
    async def test_old_one_stays(self, broker: Supplied, make) -> None:  # type: ignore[no-untyped-def]
        """It is told and recorded once, not at each look; the old bundle stays, unconfirmed."""
        broker.put(make(broker.team))
        looks = [await broker.watch.look() for _ in range(3)]
        assert looks == [Look.REFUSED] * 3
        assert broker.policy.bundle_revision == "test-5"
        assert len(refused(broker)) == 1
        assert await broker.events() == ["policy.refused"]
        assert broker.freshness.confirmed_at is None

    async def test_put_there_again(self, broker: Supplied) -> None:
        """The same bytes in a new file are not told again, others are."""
        for number in (4, 4, 3, 4):
            broker.put(broker.team.bundle(number))
            assert await broker.watch.look() is Look.REFUSED
        assert len(refused(broker)) == 2

    async def test_good_one_after_it(self, broker: Supplied) -> None:
        """A bundle that may be taken is, whatever was refused before it."""
        broker.put(numbered(6))
        await broker.watch.look()
        broker.put(broker.team.bundle(6))
        assert await broker.watch.look() is Look.ACTIVATED

    async def test_taken_once_more(self, broker: Supplied) -> None:
        """The active bundle that comes back after a refused one confirms itself."""
        broker.put(broker.team.bundle(5))
        await broker.watch.look()
        broker.put(numbered(6))
        await broker.watch.look()
        broker.put(broker.team.bundle(5))
        broker.stage.clock.advance(EVERY)
        assert await broker.watch.look() is Look.CONFIRMED
        assert broker.freshness.confirmed_at == broker.stage.clock.now()

    async def test_its_key_is_withdrawn(self, broker: Supplied) -> None:
        """What is active stays, but is confirmed no more; told once, and policy grows stale."""
        broker.put(broker.team.bundle(6))
        assert await broker.watch.look() is Look.ACTIVATED
        confirmed_at = broker.stage.clock.now()
        withdrawn = replace(broker.team.key.trusted, status=KeyStatus.WITHDRAWN)
        broker.around.root = TrustRoot(version=2, keys=(withdrawn,))
        broker.stage.clock.advance(STALE_AFTER)
        assert [await broker.watch.look() for _ in range(3)] == [Look.REFUSED] * 3
        assert broker.policy.bundle_revision == "test-6"
        assert broker.freshness.confirmed_at == confirmed_at
        assert broker.freshness.state is Freshness.STALE
        assert len(refused(broker)) == 1
        assert await broker.events() == ["policy.activated", "policy.refused"]

    async def test_the_trust_root_cannot_be_read(self, broker: Supplied) -> None:
        """Nothing is known of its keys then: neither confirmed nor refused, and tried again."""
        broker.put(broker.team.bundle(6))
        await broker.watch.look()
        broker.around.is_root_readable = False
        assert await broker.watch.look() is Look.FAILED
        broker.around.is_root_readable = True
        assert await broker.watch.look() is Look.CONFIRMED

    async def test_the_machine_fails(self, broker: Supplied) -> None:
        """What no engine could be had for is tried again at the next look, without a restart."""
        broker.around.machine_lacks = "Cannot allocate memory"
        broker.put(broker.team.bundle(6))
        assert [await broker.watch.look() for _ in range(2)] == [Look.FAILED] * 2
        broker.around.machine_lacks = ""
        assert await broker.watch.look() is Look.ACTIVATED

    async def test_overtaken(self, broker: Supplied) -> None:
        """What was taken once confirms no other bundle that somebody activated since."""
        broker.put(broker.team.bundle(6))
        await broker.watch.look()
        await broker.activate(7)
        activated_at = broker.stage.clock.now()
        assert broker.freshness.confirmed_at == activated_at
        broker.stage.clock.advance(STALE_AFTER)
        assert await broker.watch.look() is Look.OVERTAKEN
        assert broker.policy.bundle_revision == "test-7"
        assert broker.freshness.confirmed_at == activated_at
        assert broker.freshness.state is Freshness.STALE


class TestFailed:
    async def test_told_once(self, broker: Supplied) -> None:
        """A source that has nothing is told once, and once more after it had something."""
        assert [await broker.watch.look() for _ in range(3)] == [Look.FAILED] * 3
        assert broker.stage.alarms.heard == [MISSING]
        broker.put(broker.team.bundle(6))
        await broker.watch.look()
        broker.file.unlink()
        await broker.watch.look()
        assert broker.stage.alarms.heard == [MISSING, MISSING]
        assert broker.policy.bundle_revision == "test-6"

    async def test_store_takes_nothing(self, broker: Supplied) -> None:
        """A bundle that could not be made durable is tried at the next look, unasked."""
        broker.put(broker.team.bundle(6))
        looks = []
        for _ in range(2):
            broker.stage.disk.fail_next(Fault.BEFORE)
            looks.append(await broker.watch.look())
        assert looks == [Look.FAILED] * 2
        assert broker.policy.bundle_revision == "test-5"
        assert broker.stage.alarms.heard == [MISSING]
        assert await broker.watch.look() is Look.ACTIVATED

    async def test_source_at_fault(self, broker: Supplied) -> None:
        """A source that errs in a way nobody thought of ends neither loop nor broker."""

        class Odd(BundleSource):
            async def look(self) -> bytes | None:
                """Err."""
                raise ZeroDivisionError("odd")

        watch = BundleWatch(
            Odd(),  # type: ignore[abstract]
            broker.activation,
            broker.freshness,
            every=EVERY,
            clock=broker.stage.clock,
            telemetry=broker.stage.alarms,
        )
        assert await watch.look() is Look.FAILED
