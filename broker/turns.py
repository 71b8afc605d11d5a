"""Let each reader have one piece of content at a time."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import TypeVar

from broker.core.ids import AgentId

T = TypeVar("T")


class Turns:
    """Give each reader one turn, to whichever of its reads has waited longest.

    Reading a large result takes the event loop's time, a few milliseconds at a stretch. A hundred
    reads of one agent would so come before each step of another's call; of reads that take turns
    it is one. Others' reads are not waited for: a reader stands in nobody's way but its own.

    Used from one event loop. As many turns are kept as there are identities.
    """

    def __init__(self) -> None:
        self._turns: defaultdict[AgentId, asyncio.Lock] = defaultdict(asyncio.Lock)

    def of(self, reader: AgentId) -> asyncio.Lock:
        """Give a reader's turn, to be held while one piece is read, never while waiting for more.

        Whoever holds it must not ask for it again.
        """
        return self._turns[reader]

    async def each(self, reader: AgentId, pieces: AsyncIterator[T]) -> AsyncIterator[T]:
        """Give pieces, a turn for each: who does not take the next one holds up no other read."""
        while True:
            async with self.of(reader):
                piece = await anext(pieces, None)
            if piece is None:
                return
            yield piece
