"""Streams of clients that end, break off, or stand still."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import grpc
import pytest
from grpc import aio

from broker.api.inflow import in_time, not_broken_off
from broker.errors import UploadBroken

_STREAMS = 10
T = TypeVar("T")


async def nothing() -> None:
    """Do not wait."""


async def ended_by(finish: str, check: Callable[[], Awaitable[None]]) -> int:
    """Send streams to a server of its own, end or break them off; count those it took as whole."""
    begun, over, whole = asyncio.Semaphore(0), asyncio.Semaphore(0), 0

    async def handle(messages: AsyncIterator[bytes], context: object) -> bytes:
        nonlocal whole
        try:
            async for _ in in_time(aiter(messages), idle_s=30, within_s=30):
                begun.release()
            await check()
            whole += 1
        finally:
            over.release()
        return b""

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: object) -> grpc.RpcMethodHandler:
            return grpc.stream_unary_rpc_method_handler(handle)

    server = aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        calls = [channel.stream_unary("/test/Put")() for _ in range(_STREAMS)]
        for call in calls:
            await call.write(b"x")
            await begun.acquire()
        for call in calls:
            call.cancel() if finish == "cancel" else await call.done_writing()
        for _ in calls:
            await over.acquire()
    await server.stop(None)
    return whole


async def read(messages: AsyncIterator[T], idle_s: float, within_s: float) -> list[T]:
    """Read a stream to its end."""
    return [message async for message in in_time(messages, idle_s=idle_s, within_s=within_s)]


class TestEnd:
    async def test_broken_off_is_no_end(self) -> None:
        """A stream that its client breaks off is never taken for one that it ended."""
        assert await ended_by("cancel", not_broken_off) == 0

    async def test_broken_off_looks_like_an_end(self) -> None:
        """The twin: without the check every one of them is taken for whole."""
        assert await ended_by("cancel", nothing) == _STREAMS

    async def test_ended_is_ended(self) -> None:
        """A stream that its client ends is whole, by the check too."""
        assert await ended_by("end", not_broken_off) == _STREAMS


class TestTime:
    @pytest.mark.parametrize(("idle_s", "within_s"), [(0.01, 30), (30, 0.01)])
    async def test_standing_still(self, idle_s: float, within_s: float) -> None:
        """A client that sends nothing is given up after either time."""

        async def still() -> AsyncIterator[bytes]:
            yield b"x"
            await asyncio.Event().wait()

        with pytest.raises(UploadBroken):
            await read(still(), idle_s, within_s)

    async def test_a_steady_one_is_not(self) -> None:
        """One that goes on sending is read to its end."""

        async def steady() -> AsyncIterator[int]:
            for number in range(3):
                yield number

        assert await read(steady(), 30, 30) == [0, 1, 2]
