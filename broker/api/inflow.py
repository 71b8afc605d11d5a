"""Read what a client streams, for as long as it may take."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

from broker.errors import UploadBroken

_UNTIL_TOLD_S = 0.05

T = TypeVar("T")


async def in_time(
    messages: AsyncIterator[T], *, idle_s: float, within_s: float
) -> AsyncIterator[T]:
    """Give a client's messages, one at a time: the next is read when it is asked for.

    Args:
        idle_s: How long the next one may take.
        within_s: How long all of them may take, from now.

    Raises:
        UploadBroken: They take longer.
    """
    loop = asyncio.get_running_loop()
    until_s = loop.time() + within_s
    while True:
        try:
            async with asyncio.timeout(min(idle_s, until_s - loop.time())):
                message = await anext(messages, None)
        except TimeoutError:
            raise UploadBroken(
                f"no more than {idle_s:g} s may pass between two messages of an upload, "
                f"nor {within_s:g} s in all: send it again, faster"
            ) from None
        if message is None:
            return
        yield message


async def not_broken_off() -> None:
    """Return where the stream that has just ended was ended by its client.

    gRPC ends a stream that was broken off as one that was ended, and only then, by a cancellation
    that comes a moment later, says so: what is done at once is done with half a file.
    """
    await asyncio.sleep(_UNTIL_TOLD_S)
    # A loop that was held up meanwhile runs its timers before it hears of anything.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
