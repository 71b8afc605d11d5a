"""Look up names as the machine does."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from broker.core.address import Address

_THREADS = 8


class SystemResolver:
    """The machine's own resolver (see `broker.ports.Resolver`).

    Its threads are its own: a name server that hangs must not stop what else the broker does.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="resolver")

    async def addresses(self, host: str) -> Sequence[Address]:
        """Give every address of a name."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _addresses, host)


def _addresses(host: str) -> Sequence[Address]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))
