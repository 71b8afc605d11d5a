"""Carry bytes between a tool and the place that it reached."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from broker.adapters.egress_proxy.tally import Wish, refused
from broker.adapters.egress_proxy.wire import Wire
from broker.core.egress import EgressReason


@asynccontextmanager
async def idle_limit(idle_s: float) -> AsyncIterator[Callable[[], None]]:
    """End work in which nothing has moved for a while; gives what to call when something did.

    Raises:
        EgressRefused: It was ended.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(idle_s) as limit:
            yield lambda: limit.reschedule(loop.time() + idle_s)
    except TimeoutError:
        raise refused(
            EgressReason.IDLE, f"nothing was sent or received for {idle_s:.0f} s: connect anew"
        ) from None


async def relay(tool: Wire, place: Wire, wish: Wish, *, idle_s: float) -> None:
    """Carry bytes both ways until both directions have ended and the place has taken its own.

    Each direction reads only when what it read before was taken: a slow reader slows its sender.

    Raises:
        EgressRefused: The call may send or receive no more, or nothing moved for too long.
        OSError: A connection broke.
    """
    try:
        async with idle_limit(idle_s) as moved, asyncio.TaskGroup() as pumps:
            pumps.create_task(_pump(tool, place, wish.send, moved))
            pumps.create_task(_pump(place, tool, wish.receive, moved))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    # Its end may still be in this process; closed at once it would be lost, and counted as sent.
    if not await place.close(within_s=idle_s):
        raise refused(EgressReason.IDLE, f"the place took no more for {idle_s:.0f} s: connect anew")


async def _pump(
    source: Wire, sink: Wire, count: Callable[[int], None], moved: Callable[[], None]
) -> None:
    while data := await source.receive():
        moved()
        count(len(data))
        await sink.send(data)
        moved()
    sink.end()
