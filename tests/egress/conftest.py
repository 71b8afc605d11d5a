"""A proxy of a test's own, with places behind it."""

import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.adapters.egress_proxy import Bounds, EgressProxy
from broker.core.destination import read_destination
from broker.core.egress import Egress, EgressProtocol
from broker.ports import Outlet
from tests.egress.places import LOOPBACK, Names, Places
from tests.egress.tool import Tool
from tests.sandbox.conftest import place  # noqa: F401 (fixture)

BOUNDS = Bounds(connect_s=10, first_bytes_s=10, idle_s=30)


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """Servers on the loopback."""
    with Places(tmp_path_factory.mktemp("places")) as places:
        yield places


@pytest.fixture(scope="session")
def tls(places: Places) -> ssl.SSLContext:
    """What a tool verifies the servers with."""
    return ssl.create_default_context(cadata=places.ca.decode())


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder for sockets, by a path that a test can connect to."""
    folder = Path(tempfile.mkdtemp(prefix="tw"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
async def way_out(root: Path, names: Names) -> AsyncIterator["WayOut"]:
    """Opens ways out; they are closed with the test."""
    made = WayOut(root, names)
    yield made
    await made.close()


@pytest.fixture
def names() -> Names:
    """Every name is this machine, until the test says otherwise."""
    return Names()


class WayOut:
    """Opens outlets as for containers.

    Args:
        root: Folder of the sockets.
    """

    def __init__(self, root: Path, names: Names) -> None:
        self.root = root
        self._names = names
        self._outlets: list[Outlet] = []

    async def open(
        self,
        *listed: str,
        protocol: EgressProtocol = EgressProtocol.HTTP,
        allow: tuple[Any, ...] = (LOOPBACK,),
        **bounds: Any,
    ) -> Tool:
        """Open one for these places; give the tool that stands in front of it."""
        proxy = EgressProxy(
            self.root,
            installation="test",
            resolver=self._names,
            allow=allow,
            bounds=replace(BOUNDS, **bounds),
        )
        places = tuple(map(read_destination, listed))
        slot = f"slot-{len(self._outlets)}"
        outlet = await proxy.open(slot, Egress(destinations=places, protocol=protocol))
        self._outlets.append(outlet)
        return Tool(outlet)

    async def close(self) -> None:
        """Close them."""
        for outlet in self._outlets:
            await outlet.close()
