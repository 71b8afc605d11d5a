"""Who gets the next sandbox."""

import asyncio
import random

from broker.core.ids import AgentId
from broker.slots import Slots
from broker.tasks import first

A, B, C = AgentId("a"), AgentId("b"), AgentId("c")


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class TestSlots:
    async def test_fewest_first(self) -> None:
        """A free slot goes to the agent with the fewest, of equals to who waits longest."""
        slots, got = Slots(2, 2), []

        async def ask(agent: AgentId, name: str) -> None:
            await slots.acquire(agent)
            got.append(name)

        asking = [
            asyncio.ensure_future(ask(agent, name))
            for agent, name in ((A, "a1"), (A, "a2"), (A, "a3"), (A, "a4"), (B, "b1"), (C, "c1"))
        ]
        await _turns(4)
        for _ in range(2):
            slots.release(A)
            await _turns(4)
        assert got == ["a1", "a2", "b1", "a3"]
        slots.release(B)
        await _turns(4)
        assert got[-1] == "c1"
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def test_one_leaves_others_room(self) -> None:
        """Who came first with more long calls than there are slots has not every one of them."""
        slots = Slots(4, 3)
        asking = [asyncio.ensure_future(slots.acquire(A)) for _ in range(8)]
        await _turns(4)
        assert [task.done() for task in asking] == [True] * 3 + [False] * 5
        assert not slots.take(A)
        assert slots.take(B)
        slots.release(A)
        await _turns(4)
        assert [task.done() for task in asking[3:]] == [True] + [False] * 4
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def test_cancelled_loses_nothing(self) -> None:
        """However waits are raced or cancelled, no slot is lost, none is given twice."""
        chance, slots = random.Random(3), Slots(3, 3)
        held = most = 0

        async def one(agent: AgentId, patience: int) -> None:
            nonlocal held, most
            got, _ = await first(slots.acquire(agent), _turns(patience))
            if got:
                held += 1
                most = max(most, held)
                await _turns(1)
                held -= 1
                slots.release(agent)

        async def cancelled(agent: AgentId, patience: int) -> None:
            waiting = asyncio.ensure_future(slots.acquire(agent))
            await _turns(patience)
            waiting.cancel()
            await asyncio.wait({waiting})
            if not waiting.cancelled():
                slots.release(agent)

        for _ in range(300):
            kinds = (chance.choice((one, cancelled)) for _ in range(12))
            await asyncio.gather(
                *(kind(chance.choice((A, B, C)), chance.randrange(5)) for kind in kinds)
            )
        assert most == 3
        assert held == 0
        rest = [asyncio.ensure_future(slots.acquire(A)) for _ in range(4)]
        await _turns(4)
        assert [task.done() for task in rest] == [True, True, True, False]
        rest[3].cancel()
