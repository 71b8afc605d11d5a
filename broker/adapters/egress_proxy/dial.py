"""Connect to a listed place, at an address that was checked."""

import asyncio
import ipaddress
from collections.abc import Collection, Sequence
from functools import partial

from broker.adapters.egress_proxy.bounds import Bounds
from broker.adapters.egress_proxy.tally import refused
from broker.adapters.egress_proxy.wire import Wire
from broker.core.address import Address, Network, kind_denied
from broker.core.destination import Destination
from broker.core.egress import EgressReason
from broker.ports import Resolver

_TRIES = 3


class Dialler:
    """Turn names into connections.

    A name is looked up once for each connection, and the address that was checked is the one that
    is dialled: nobody is asked a second time, who could then answer otherwise.
    """

    def __init__(self, resolver: Resolver, allow: Collection[Network], bounds: Bounds) -> None:
        self._resolver = resolver
        self._allow = tuple(allow)
        self._bounds = bounds

    async def dial(self, destination: Destination, listed: Collection[Destination]) -> Wire:
        """Connect to a place.

        Args:
            listed: The call's own list.

        Raises:
            EgressRefused: It is not listed, leads to a denied address, or cannot be reached.
        """
        # Before the lookup: a name that is not listed never leaves as a question to a name server.
        if destination not in listed:
            raise refused(
                EgressReason.NOT_LISTED,
                f"{destination} is not on this call's list: call with a URL that is",
            )
        try:
            async with asyncio.timeout(self._bounds.connect_s):
                addresses = await self._addresses(destination)
                self._check(destination, addresses)
                return await self._connect(destination, addresses)
        except TimeoutError:
            raise refused(
                EgressReason.PLACE_UNREACHABLE,
                f"{destination} does not answer in time: try again later",
            ) from None

    async def _addresses(self, destination: Destination) -> Sequence[Address]:
        if destination.is_literal:
            return (ipaddress.ip_address(destination.host.strip("[]")),)
        return await self._resolver.addresses(destination.host)

    def _check(self, destination: Destination, addresses: Sequence[Address]) -> None:
        """Refuse a name with a single bad address: its owner would choose which one is dialled."""
        if not addresses:
            raise refused(
                EgressReason.NAME_UNKNOWN, f"{destination.host} has no address: check the name"
            )
        for address in addresses:
            if kind := kind_denied(address, self._allow):
                raise refused(
                    EgressReason.ADDRESS_DENIED,
                    f"{destination.host} leads to an address that may not be dialled ({kind}): "
                    "where that is right, the operator adds it to egress.allow_cidrs",
                )

    async def _connect(self, destination: Destination, addresses: Sequence[Address]) -> Wire:
        for address in addresses[:_TRIES]:
            try:
                _, wire = await asyncio.get_running_loop().create_connection(
                    partial(Wire, piece_bytes=self._bounds.piece_bytes),
                    str(address),
                    destination.port,
                )
            except OSError:
                continue
            return wire
        raise refused(
            EgressReason.PLACE_UNREACHABLE, f"{destination} cannot be reached: try again later"
        )
