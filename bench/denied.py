"""Compare a denied call, its signed receipt durable, with a bare echo."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import uvloop
from grpc import aio

from bench.echo import METHOD, echo
from bench.figure import Figure, quantiles
from broker.v1 import call_pb2, execution_pb2
from tests.broker_process import Served

_EXECUTE = "/broker.v1.ExecutionService/ExecuteTool"
BY_POLICY = ("workspace_read", '{"path":".env"}')
"""A call that the shipped policy denies, in Rego (`default.credential_path`)."""
BY_NAME = ("no_such_tool", "{}")
"""A call that the catalogue denies, without asking policy."""
_AT_ONCE = 32
_IN_TURN = 25
# Past the shipped policy's `default.too_many_denials`, so that every answer has the same size.
_WARM_UP = 700


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One method with the one request that is made of it, both in bytes.

    The client neither writes nor reads a message: its share is the same on both sides.
    """

    method: aio.UnaryUnaryMultiCallable[bytes, bytes]
    request: bytes

    async def once(self) -> bytes:
        """Make one request."""
        return await self.method(self.request)

    async def in_turn(self, count: int) -> list[float]:
        """Make requests one after the other; give the milliseconds of each."""
        took_ms = []
        for _ in range(count):
            begun_s = time.perf_counter()
            await self.once()
            took_ms.append((time.perf_counter() - begun_s) * 1000)
        return took_ms

    async def at_once(self, count: int) -> float:
        """Make requests from 32 clients at once; give the rate per second."""

        async def client() -> None:
            for _ in range(count // _AT_ONCE):
                await self.once()

        begun_s = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(_AT_ONCE)))
        return count // _AT_ONCE * _AT_ONCE / (time.perf_counter() - begun_s)


def measure(served: Served, *, calls: int, blocks: int) -> list[Figure]:
    """Measure both kinds of denial.

    Args:
        calls: How many of each side are timed one by one, for the medians.
        blocks: How many blocks of each side are timed with 32 calls at once.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return [
            *runner.run(_compare(served, "policy", BY_POLICY, calls, blocks)),
            *runner.run(_compare(served, "no such tool", BY_NAME, calls, blocks)),
        ]


def deny(served: Served, count: int) -> None:
    """Have calls denied by policy, as fast as 32 clients go."""

    async def run() -> None:
        async with denied_side(served) as side:
            await side.at_once(count)

    asyncio.run(run())


@asynccontextmanager
async def denied_side(served: Served) -> AsyncIterator[Side]:
    """Give the side of calls that policy denies, to be measured under other conditions."""
    async with open_channel(served, served.target) as channel:
        side = Side(method=method_of(channel, _EXECUTE), request=_request(BY_POLICY))
        _checked(await side.once())
        yield side


async def _compare(
    served: Served, by: str, call: tuple[str, str], calls: int, blocks: int
) -> list[Figure]:
    async with open_channel(served, served.target) as channel:
        denied = Side(method=method_of(channel, _EXECUTE), request=_request(call))
        await denied.in_turn(_WARM_UP)
        answer = _checked(await denied.once())
        with echo(served.folder.path / "pki", len(answer)) as target:
            async with open_channel(served, target) as other:
                bare = Side(method=method_of(other, METHOD), request=denied.request)
                await bare.in_turn(_WARM_UP)
                sizes = f"{len(denied.request)} B in, {len(answer)} B out"
                return [
                    await _latency(by, denied, bare, calls, sizes),
                    await _throughput(by, denied, bare, blocks, sizes),
                ]


async def _latency(by: str, denied: Side, bare: Side, calls: int, sizes: str) -> Figure:
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(calls // _IN_TURN):
        ours += await denied.in_turn(_IN_TURN)
        theirs += await bare.in_turn(_IN_TURN)
    return Figure(
        name=f"denied call ({by}) / echo, p50",
        unit="ms",
        ours=statistics.median(ours),
        theirs=statistics.median(theirs),
        bound=4.0,
        conditions=f"{len(ours)} each, in turns of {_IN_TURN}, {sizes}; "
        f"ours {quantiles(ours)}; theirs {quantiles(theirs)}",
        samples={"denied": ours, "echo": theirs},
    )


async def _throughput(by: str, denied: Side, bare: Side, blocks: int, sizes: str) -> Figure:
    ours: list[float] = []
    theirs: list[float] = []
    size = 20 * _AT_ONCE
    for _ in range(blocks):
        ours.append(await denied.at_once(size))
        theirs.append(await bare.at_once(size))
    return Figure(
        name=f"denied calls ({by}) / echo, throughput",
        unit="/s",
        ours=statistics.median(ours),
        theirs=statistics.median(theirs),
        bound=1 / 3,
        at_most=False,
        conditions=f"{_AT_ONCE} at once, {blocks} blocks of {size} each, in turns, {sizes}",
    )


@asynccontextmanager
async def open_channel(served: Served, target: str) -> AsyncIterator[aio.Channel]:
    """Give a channel of `agent`, connected."""
    pki, pair = served.folder.path / "pki", served.folder.pair("agent")
    credentials = grpc.ssl_channel_credentials(
        (pki / "ca.crt").read_bytes(), pair.private_key_pem, pair.certificate_pem
    )
    async with aio.secure_channel(target, credentials) as channel:
        await channel.channel_ready()
        yield channel


def method_of(channel: aio.Channel, name: str) -> aio.UnaryUnaryMultiCallable[bytes, bytes]:
    """Give a method that takes and gives bytes."""
    return channel.unary_unary(name)


def _request(call: Sequence[str]) -> bytes:
    tool, arguments = call
    return execution_pb2.ExecuteToolRequest(tool=tool, arguments_json=arguments).SerializeToString()


def _checked(answer: bytes) -> bytes:
    call = execution_pb2.ExecuteToolResponse.FromString(answer).call
    assert call.state == call_pb2.CALL_STATE_DENIED, call
    assert call.receipt, call
    return answer
