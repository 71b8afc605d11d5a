"""What is carried between two connections, to its last byte."""

import asyncio
import socket

import pytest

from broker.adapters.egress_proxy.bounds import Bounds
from broker.adapters.egress_proxy.relay import relay
from broker.adapters.egress_proxy.tally import Tally
from broker.adapters.egress_proxy.wire import Wire
from broker.core.egress import EgressReason
from broker.errors import EgressRefused

PIECE = 4096


async def _wire() -> tuple[Wire, socket.socket]:
    """Make a wire with its other end, which does nothing by itself."""
    near, far = socket.socketpair()
    far.setblocking(False)
    loop = asyncio.get_running_loop()
    _, wire = await loop.create_unix_connection(lambda: Wire(piece_bytes=64 << 10), sock=near)
    return wire, far


async def _turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def _stuck(idle_s: float) -> tuple[asyncio.Task[None], socket.socket, socket.socket, int]:
    """Let a tool send, and end, until a place that reads nothing has a piece that nobody takes."""
    loop = asyncio.get_running_loop()
    (tool, tool_end), (place, place_end) = await _wire(), await _wire()
    wish = Tally(Bounds()).begin()
    assert wish is not None
    relaying = asyncio.create_task(relay(tool, place, wish, idle_s=idle_s))
    # It has said all that it says.
    place_end.shutdown(socket.SHUT_WR)
    while place._alive().get_write_buffer_size() == 0:
        await loop.sock_sendall(tool_end, b"x" * PIECE)
        await _turns()
    tool_end.shutdown(socket.SHUT_WR)
    await _turns()
    return relaying, tool_end, place_end, wish.sent_bytes


@pytest.mark.parametrize("reads", [True, False])
async def test_a_close_tells_whether_all_was_taken(reads: bool) -> None:
    """What a peer that does not read has left in this process is lost, and said to be."""
    wire, far = await _wire()
    while wire._alive().get_write_buffer_size() == 0:
        await wire.send(b"x" * PIECE)
    closing = asyncio.create_task(wire.close(within_s=0.2 if not reads else 60))
    loop = asyncio.get_running_loop()
    while reads and await loop.sock_recv(far, 1 << 16):
        continue
    assert await closing is reads
    far.close()


async def test_the_end_of_an_upload_arrives() -> None:
    """A place that has said all that it says, and reads late, gets every byte that was counted."""
    relaying, tool_end, place_end, sent_bytes = await _stuck(idle_s=60)
    loop, got = asyncio.get_running_loop(), 0
    while piece := await loop.sock_recv(place_end, 1 << 16):
        got += len(piece)
    await relaying
    assert got == sent_bytes
    tool_end.close()
    place_end.close()


async def test_an_end_that_nobody_takes_is_told() -> None:
    """A place that never reads ends the connection as idle, not well."""
    relaying, tool_end, place_end, _ = await _stuck(idle_s=0.2)
    with pytest.raises(EgressRefused) as refused:
        await relaying
    assert refused.value.reason == EgressReason.IDLE.value
    tool_end.close()
    place_end.close()
