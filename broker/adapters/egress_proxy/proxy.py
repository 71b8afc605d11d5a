"""Open and close the ways out of containers."""

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path
from weakref import WeakSet

from broker.adapters.egress_proxy.bounds import Bounds
from broker.adapters.egress_proxy.dial import Dialler
from broker.adapters.egress_proxy.folder import HTTP_SOCKET, TCP_FOLDER, Folders
from broker.adapters.egress_proxy.http_door import HttpDoor
from broker.adapters.egress_proxy.outlet import Door, SocketOutlet
from broker.adapters.egress_proxy.tcp_door import TcpDoor
from broker.core.address import Network
from broker.core.egress import Egress, EgressProtocol
from broker.errors import SandboxError
from broker.ports import Resolver


class EgressProxy:
    """Sockets for containers, behind which this process connects (see `ports.EgressGateway`).

    Args:
        root: Folder of the folders that are mounted; made where it is missing, mode 0700.
        installation: Id of the store.
        allow: Networks that may be dialled although they stand on the deny table.
        ca: PEM of further certificate authorities, handed to the tools; may be empty.
    """

    def __init__(
        self,
        root: Path,
        *,
        installation: str,
        resolver: Resolver,
        allow: Sequence[Network] = (),
        bounds: Bounds | None = None,
        ca: bytes = b"",
    ) -> None:
        self._folders = Folders(root, installation=installation)
        self._bounds = bounds or Bounds()
        self._dialler = Dialler(resolver, allow, self._bounds)
        self._ca = ca
        # The loop holds what listens; what is closed nobody needs to hold.
        self._outlets: WeakSet[SocketOutlet] = WeakSet()

    async def open(self, slot: str, egress: Egress) -> SocketOutlet:
        """Listen for one container.

        Raises:
            SandboxError: The folder or a socket cannot be made; nothing is left.
        """
        doors = self._doors(egress)
        folder, sockets = await asyncio.to_thread(
            self._folders.make, slot, [name for name, _ in doors], self._ca
        )
        outlet = SocketOutlet(folder, self._bounds)
        self._outlets.add(outlet)
        try:
            for listening, (_, door) in zip(sockets, doors, strict=True):
                await outlet.listen(listening, door)
        except OSError as error:
            for listening in sockets:
                listening.close()
            await outlet.close()
            raise SandboxError(f"the sockets of egress cannot be opened: {error}") from error
        return outlet

    async def sweep(self, slots: Collection[str]) -> None:
        """Remove what containers in no such slot left.

        Raises:
            SandboxError: Something cannot be removed.
        """
        found = await asyncio.to_thread(self._folders.slots)
        # Only now: a slot is taken before its folder is made, so what was found and is not among
        # them is nobody's. Read before, they lack a container that was begun meanwhile.
        await asyncio.to_thread(self._folders.remove, found.difference(slots))

    async def close(self) -> None:
        """Close every outlet that is still open."""
        for outlet in list(self._outlets):
            await outlet.close()

    def _doors(self, egress: Egress) -> list[tuple[str, Door]]:
        match egress.protocol:
            case EgressProtocol.HTTP:
                door = HttpDoor(self._dialler, egress.destinations, self._bounds)
                return [(HTTP_SOCKET, door)]
            case EgressProtocol.TCP:
                return [
                    (f"{TCP_FOLDER}/{place}", TcpDoor(self._dialler, place, self._bounds))
                    for place in egress.destinations
                ]
