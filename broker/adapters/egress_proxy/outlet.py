"""Hold the sockets of one container, with every connection through them."""

import asyncio
import socket
from functools import partial
from pathlib import Path
from typing import Protocol

from broker.adapters.egress_proxy.bounds import Bounds
from broker.adapters.egress_proxy.folder import remove
from broker.adapters.egress_proxy.tally import Tally, Wish
from broker.adapters.egress_proxy.wire import Wire
from broker.core.egress import EgressReason, EgressReport, Verdict
from broker.errors import EgressRefused

_FAILURES = {EgressReason.NAME_UNKNOWN, EgressReason.PLACE_UNREACHABLE, EgressReason.BROKEN}


class Door(Protocol):
    """Serve what comes in by one socket."""

    async def serve(self, tool: Wire, wish: Wish) -> None:
        """Serve one connection to its end.

        Raises:
            EgressRefused: The tool may not go there, or the place could not be reached.
            OSError: A connection broke.
        """


class SocketOutlet:
    """The way out of one container (see `broker.ports.Outlet`)."""

    def __init__(self, folder: Path, bounds: Bounds) -> None:
        self._folder = folder
        self._bounds = bounds
        self._tally = Tally(bounds)
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[EgressReport] | None = None

    @property
    def folder(self) -> Path:
        """The folder on this machine."""
        return self._folder

    async def listen(self, listening: socket.socket, door: Door) -> None:
        """Take connections from a socket that listens already."""
        server = await asyncio.get_running_loop().create_unix_server(
            partial(Wire, piece_bytes=self._bounds.piece_bytes, opened=partial(self._take, door)),
            sock=listening,
        )
        self._servers.append(server)

    async def close(self) -> EgressReport:
        """Close every socket and connection, remove the folder; say what went through."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        return await asyncio.shield(self._closing)

    async def _close(self) -> EgressReport:
        self._stop_listening()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await asyncio.to_thread(remove, self._folder)
        return self._tally.report

    def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()

    def _take(self, door: Door, tool: Wire) -> None:
        # One that was accepted just before the end gets nothing any more.
        wish = None if self._closing else self._tally.begin()
        if wish is None:
            tool.abort()
            if self._tally.is_spent:
                # From here on the kernel refuses: a flood must not be work for the broker.
                self._stop_listening()
            return
        connection = asyncio.create_task(self._serve(door, tool, wish))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, door: Door, tool: Wire, wish: Wish) -> None:
        try:
            await _served(door, tool, wish)
            was_taken = await tool.close(within_s=self._bounds.idle_s)
            if not was_taken and wish.reason is None:
                _ended(wish, EgressReason.IDLE)
        finally:
            self._tally.end()
            tool.abort()


async def _served(door: Door, tool: Wire, wish: Wish) -> None:
    """Serve one connection; note how it ended."""
    try:
        await door.serve(tool, wish)
    except EgressRefused as error:
        _ended(wish, EgressReason(error.reason))
    except OSError:
        _ended(wish, EgressReason.BROKEN)
    except asyncio.CancelledError:
        wish.reason = EgressReason.CALL_ENDED
        raise


def _ended(wish: Wish, reason: EgressReason) -> None:
    wish.reason = reason
    if wish.verdict is not Verdict.CONNECTED and reason in _FAILURES:
        wish.verdict = Verdict.FAILED
