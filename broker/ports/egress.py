"""Name the way out of a sandbox."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from broker.core.address import Address
from broker.core.egress import Egress, EgressReport


class Resolver(Protocol):
    """Look up names. Safe from one event loop; blocking work happens in its own threads."""

    async def addresses(self, host: str) -> Sequence[Address]:
        """Give every address of a name, in the order to try them; empty where there is none.

        Args:
            host: A name in normal form, never an address.
        """


class Outlet(Protocol):
    """The way out of one container: a folder of sockets behind which a proxy listens."""

    @property
    def folder(self) -> Path:
        """The folder on this machine, to be mounted into the one container."""

    async def close(self) -> EgressReport:
        """Close every socket and connection, remove the folder; say what went through.

        Idempotent, never raises: each further call gives the same report.
        """


class EgressGateway(Protocol):
    """Let containers reach listed places. Safe from one event loop."""

    async def open(self, slot: str, egress: Egress) -> Outlet:
        """Listen for one container, on sockets of its own.

        Raises:
            SandboxError: The folder or a socket cannot be made; nothing is left.
        """

    async def sweep(self, slots: Collection[str]) -> None:
        """Remove what containers in no such slot left: of an earlier life, or of a lost one.

        Args:
            slots: Those in use, each from before its `open` on; read after looking, so hand over
                what changes with them, not a copy.

        Raises:
            SandboxError: Something cannot be removed.
        """

    async def close(self) -> None:
        """Close every outlet that is still open."""
