"""Hold one end of a connection."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import cast

_SEND_BYTES = 1 << 20


class Wire(asyncio.Protocol):
    """One stream of bytes each way, with a bounded buffer each way.

    What comes is handed on in the pieces that the loop read, uncopied: that is most of what a
    large transfer costs.

    Args:
        piece_bytes: When so much waits to be received, no more is read; when so much waits to be
            sent, the sender waits.
        opened: Called with the wire when it is connected.
    """

    def __init__(self, *, piece_bytes: int, opened: "Callable[[Wire], None] | None" = None) -> None:
        self._piece_bytes = piece_bytes
        self._opened = opened
        self._transport: asyncio.Transport | None = None
        self._pieces: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._has_ended = False
        self._fault: Exception | None = None
        self._is_reading = True
        self._arrived = asyncio.Event()
        self._may_send = asyncio.Event()
        self._may_send.set()
        self._lost = asyncio.Event()

    async def receive(self) -> bytes:
        """Take what is there, at least a byte; nothing at the end.

        Read as plain bytes: the kernel closes a file descriptor that came with them.

        Raises:
            OSError: The connection broke.
        """
        while not self._pieces:
            if self._fault is not None:
                raise self._fault
            if self._has_ended:
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        piece = self._pieces.popleft()
        self._waiting_bytes -= len(piece)
        if not self._is_reading and self._waiting_bytes < self._piece_bytes:
            self._is_reading = True
            self._alive().resume_reading()
        return piece

    async def send(self, data: bytes) -> None:
        """Write, and wait while too much is unsent.

        Raises:
            OSError: The connection broke.
        """
        self._check_open()
        self._alive().write(data)
        await self._may_send.wait()
        self._check_open()

    def end(self) -> None:
        """Say that nothing follows; the other direction stays open."""
        with suppress(OSError, RuntimeError):
            self._alive().write_eof()

    async def close(self, *, within_s: float) -> bool:
        """Close when what was written is sent; tell whether the peer took it within this time."""
        transport = self._alive()
        is_all_sent = transport.get_write_buffer_size() == 0
        transport.close()
        if is_all_sent:
            return True
        try:
            async with asyncio.timeout(within_s):
                await self._lost.wait()
        except TimeoutError:
            return False
        else:
            return True
        finally:
            self.abort()

    def abort(self) -> None:
        """Close at once; what was not sent is lost."""
        # A transport that has closed itself meanwhile has no loop any more to abort by.
        with suppress(AttributeError):
            self._alive().abort()

    def _check_open(self) -> None:
        if self._lost.is_set():
            raise self._fault or ConnectionResetError("the connection is closed")

    def _alive(self) -> asyncio.Transport:
        if self._transport is None:
            raise ConnectionResetError("there is no connection yet")
        return self._transport

    # --- what the loop calls ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self._piece_bytes)
        own = transport.get_extra_info("socket")
        if own.family == socket.AF_UNIX:
            # The default takes less than the loop reads at once: each piece would be written in two
            # parts. The kernel grants at most net.core.wmem_max; TCP tunes its own.
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
        if self._opened is not None:
            self._opened(self)

    def data_received(self, data: bytes) -> None:
        """Keep a piece; stop reading where enough waits."""
        self._pieces.append(data)
        self._waiting_bytes += len(data)
        if self._is_reading and self._waiting_bytes >= self._piece_bytes:
            self._is_reading = False
            self._alive().pause_reading()
        self._arrived.set()

    def eof_received(self) -> bool:
        """Keep the other direction open."""
        self._has_ended = True
        self._arrived.set()
        return True

    def pause_writing(self) -> None:
        """Let the sender wait."""
        self._may_send.clear()

    def resume_writing(self) -> None:
        """Let the sender go on."""
        self._may_send.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits."""
        self._has_ended = True
        self._fault = exc
        for event in (self._arrived, self._may_send, self._lost):
            event.set()
