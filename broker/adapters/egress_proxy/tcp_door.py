"""Serve one connection to a socket in `tcp/`: one place, whose bytes nobody looks at."""

from broker.adapters.egress_proxy.bounds import Bounds
from broker.adapters.egress_proxy.dial import Dialler
from broker.adapters.egress_proxy.relay import relay
from broker.adapters.egress_proxy.tally import Wish
from broker.adapters.egress_proxy.wire import Wire
from broker.core.destination import Destination


class TcpDoor:
    """Takes connections to the one socket of one place of one call."""

    def __init__(self, dialler: Dialler, destination: Destination, bounds: Bounds) -> None:
        self._dialler = dialler
        self._destination = destination
        self._bounds = bounds

    async def serve(self, tool: Wire, wish: Wish) -> None:
        """Serve one connection to its end.

        Raises:
            EgressRefused: The place may not be dialled, or could not be reached.
            OSError: A connection broke.
        """
        wish.kind = "tcp"
        wish.destination = self._destination
        place = await self._dialler.dial(self._destination, (self._destination,))
        try:
            wish.connected()
            await relay(tool, place, wish, idle_s=self._bounds.idle_s)
        finally:
            place.abort()
