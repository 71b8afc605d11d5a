"""Hold the clock in tests' hands to what they rely on it for."""

import asyncio
from datetime import timedelta

from tests.ports.fake_clock import FakeClock

SECOND = timedelta(seconds=1)


class TestFakeClock:
    async def test_stands_still(self) -> None:
        """Time moves by `advance` alone."""
        clock = FakeClock()
        before = clock.now()
        await asyncio.sleep(0)
        assert (clock.now(), clock.monotonic_s()) == (before, 0)
        clock.advance(SECOND)
        assert (clock.now(), clock.monotonic_s()) == (before + SECOND, 1)

    async def test_wakes_in_time(self) -> None:
        """A sleeper wakes when its time has come, not before; one of the past never sleeps."""
        clock = FakeClock()
        await clock.sleep_until(clock.now())
        sleeper = asyncio.ensure_future(clock.sleep_until(clock.now() + 2 * SECOND))
        await asyncio.sleep(0)
        clock.advance(SECOND)
        await asyncio.sleep(0)
        assert not sleeper.done()
        clock.advance(SECOND)
        await sleeper

    async def test_cancelled(self) -> None:
        """A sleeper that is stopped is forgotten."""
        clock = FakeClock()
        sleeper = asyncio.ensure_future(clock.sleep_until(clock.now() + SECOND))
        await asyncio.sleep(0)
        sleeper.cancel()
        await asyncio.wait({sleeper})
        assert clock.sleepers == 0
