"""Tell a time that only the test moves."""

import asyncio
from datetime import datetime, timedelta

from tests.ports import samples


class FakeClock:
    """A `Clock` that stands still until `advance`."""

    def __init__(self, start: datetime = samples.START) -> None:
        self.is_trusted = True
        self.claimed: datetime | None = None
        self._start = start
        self._now = start
        self._sleepers: set[tuple[datetime, asyncio.Future[None]]] = set()
        self.sleeping = asyncio.Event()

    def now(self) -> datetime:
        """Give the time."""
        return self._now

    def go_on_at(self, at: datetime) -> None:
        """Move there, trusted."""
        self.is_trusted = True
        self.advance(max(at - self._now, timedelta(0)))

    def machine_time(self) -> datetime:
        """Give the time that the machine claims."""
        return self.claimed or self._now

    def monotonic_s(self) -> float:
        """Give the seconds that the test has let pass."""
        return (self._now - self._start).total_seconds()

    async def sleep_until(self, at: datetime) -> None:
        """Return when the test has moved the time there."""
        if at <= self._now:
            return
        sleeper = (at, asyncio.get_running_loop().create_future())
        self._sleepers.add(sleeper)
        self.sleeping.set()
        try:
            await sleeper[1]
        finally:
            self._sleepers.discard(sleeper)

    def advance(self, by: timedelta) -> None:
        """Let time pass, at once; who sleeps until then, or less, wakes."""
        self._now += by
        for at, woken in list(self._sleepers):
            if at <= self._now and not woken.done():
                woken.set_result(None)

    @property
    def sleepers(self) -> int:
        """Count who sleeps."""
        return len(self._sleepers)
