"""Share the places for sandboxes among agents."""

import asyncio
from collections import Counter

from broker.core.ids import AgentId


class Slots:
    """Give a free slot to the waiting agent that has the fewest, the longest waiting first.

    In the order of asking alone, one agent with many long calls would make everybody else wait for
    all of them, past the time that their calls may wait. Used from one event loop.

    Args:
        count: How many there are, at least 1.
        most_each: How many one agent may have, at least 1: who came first with long calls leaves
            the others to these.
    """

    def __init__(self, count: int, most_each: int) -> None:
        self._free = count
        self._most_each = most_each
        self._taken: Counter[AgentId] = Counter()
        self._waiting: dict[asyncio.Future[None], AgentId] = {}

    def take(self, agent: AgentId) -> bool:
        """Take a slot if the agent can have one at once; tell whether it could."""
        # Who waits while one is free has as many as it may.
        if not self._free or self._taken[agent] >= self._most_each:
            return False
        self._free -= 1
        self._taken[agent] += 1
        return True

    async def acquire(self, agent: AgentId) -> None:
        """Wait for a slot; one that is given while the wait is cancelled goes to the next."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[place] = agent
        self._give()
        try:
            await place
        except asyncio.CancelledError:
            self._waiting.pop(place, None)
            if not place.cancelled():
                self.release(agent)
            raise

    def release(self, agent: AgentId) -> None:
        """Give back a slot that this agent had."""
        self._free += 1
        self._taken[agent] -= 1
        if not self._taken[agent]:
            del self._taken[agent]
        self._give()

    def _give(self) -> None:
        while self._free and (places := self._eligible()):
            place = min(places, key=lambda waiting: self._taken[self._waiting[waiting]])
            agent = self._waiting.pop(place)
            # Whoever was cancelled has not been told yet.
            if not place.cancelled():
                self._free -= 1
                self._taken[agent] += 1
                place.set_result(None)

    def _eligible(self) -> list[asyncio.Future[None]]:
        return [
            place for place, agent in self._waiting.items() if self._taken[agent] < self._most_each
        ]
