"""Hold one end of a connection."""

import asyncio
from contextlib import suppress


class Wire:
    """One stream of bytes each way, with a bounded buffer each way.

    Args:
        piece_bytes: As much is read at once; as much waits to be sent before the sender waits.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, piece_bytes: int
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._piece_bytes = piece_bytes
        writer.transport.set_write_buffer_limits(high=piece_bytes)

    async def receive(self) -> bytes:
        """Read what is there, at least a byte; nothing at the end.

        Read as plain bytes: the kernel closes a file descriptor that came with them.

        Raises:
            OSError: The connection broke.
        """
        return await self._reader.read(self._piece_bytes)

    async def send(self, data: bytes) -> None:
        """Write, and wait while too much is unsent.

        Raises:
            OSError: The connection broke.
        """
        self._writer.write(data)
        await self._writer.drain()

    def end(self) -> None:
        """Say that nothing follows; the other direction stays open."""
        with suppress(OSError, RuntimeError):
            self._writer.write_eof()

    async def close(self, *, within_s: float) -> None:
        """Close when what was written is sent, at the latest after this time."""
        self._writer.close()
        try:
            async with asyncio.timeout(within_s):
                await self._writer.wait_closed()
        except OSError:
            # A timeout is one too: the peer is gone, or does not read.
            return
        finally:
            self.abort()

    def abort(self) -> None:
        """Close at once; what was not sent is lost."""
        # A transport that has closed itself meanwhile has no loop any more to abort by.
        with suppress(AttributeError):
            self._writer.transport.abort()
