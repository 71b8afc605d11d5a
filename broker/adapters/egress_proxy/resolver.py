"""Look up names as the machine does."""

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from broker.core.address import Address

_LOOKUPS = 16


class SystemResolver:
    """The machine's own resolver (see `broker.ports.Resolver`).

    Each lookup has a thread of its own, at most 16 at a time; one that hangs keeps its place, not
    the broker: the threads are daemons, so that a name server cannot keep it from ending.
    """

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(_LOOKUPS)
        self._running: dict[str, asyncio.Task[Sequence[Address]]] = {}

    async def addresses(self, host: str) -> Sequence[Address]:
        """Give every address of a name."""
        # One lookup of a name at a time, for all who ask: one that hangs takes one place.
        running = self._running.get(host)
        if running is None:
            running = self._running[host] = asyncio.create_task(self._ask(host))
            running.add_done_callback(lambda _: self._running.pop(host, None))
        return await asyncio.shield(running)

    async def _ask(self, host: str) -> Sequence[Address]:
        loop = asyncio.get_running_loop()
        await self._places.acquire()
        future: Future[Sequence[Address]] = Future()
        future.set_running_or_notify_cancel()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._places.release))
        try:
            threading.Thread(target=_look_up, args=(future, host), daemon=True).start()
        except RuntimeError:
            # The machine has no room for a thread: nobody else will ever end this lookup.
            future.set_result(())
        return await asyncio.wrap_future(future)


def _look_up(future: "Future[Sequence[Address]]", host: str) -> None:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        addresses = dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found)
    except (OSError, ValueError):
        # Whatever cannot be had has no address: the connection fails, and says so.
        future.set_result(())
    else:
        future.set_result(tuple(addresses))
