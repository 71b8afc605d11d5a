"""Pass one plain HTTP request on, its answer back, each written anew."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import h11

from broker.adapters.egress_proxy.bounds import Bounds
from broker.adapters.egress_proxy.heads import body_length, passed_on
from broker.adapters.egress_proxy.relay import idle_limit
from broker.adapters.egress_proxy.tally import Wish, refused
from broker.adapters.egress_proxy.wire import Wire
from broker.core.egress import EgressReason

_EVENTS_A_TURN = 32
_CUT_OFF = "the place closed before it had answered: try again"
_GO_ON = h11.InformationalResponse(status_code=100, headers=[])


async def next_event(connection: h11.Connection, wire: Wire) -> object:
    """Give what comes next on a connection: an event of h11, or `PAUSED`.

    Raises:
        h11.RemoteProtocolError: It is no HTTP.
        OSError: The connection broke.
    """
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await wire.receive())
    return event


class Exchange:
    """One request on its way to a place, with the answer on its way to the tool.

    Args:
        asked: The tool's side, which has given the head of its request.
    """

    def __init__(
        self, asked: h11.Connection, tool: Wire, place: Wire, wish: Wish, bounds: Bounds
    ) -> None:
        self._asked = asked
        self._asking = h11.Connection(h11.CLIENT, max_incomplete_event_size=bounds.head_bytes)
        self._tool = tool
        self._place = place
        self._wish = wish
        self._idle_s = bounds.idle_s
        self._events = 0

    async def run(self, request: h11.Request) -> None:
        """Send a request with the body that follows it; bring back the answer.

        Args:
            request: The head that goes on.

        Raises:
            EgressRefused: A bound struck, or the place does not speak HTTP.
            h11.ProtocolError: The rest of the request is no HTTP.
            OSError: A connection broke.
        """
        try:
            async with idle_limit(self._idle_s) as moved, asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(self._send_all(request, moved))
                await self._bring_back(moved)
                # An answer before the end of the request is an answer.
                sending.cancel()
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _send_all(self, request: h11.Request, moved: Callable[[], None]) -> None:
        await self._send(request)
        event: object = None
        while not isinstance(event, h11.EndOfMessage):
            if self._asked.they_are_waiting_for_100_continue:
                await self._tool.send(self._asked.send(_GO_ON) or b"")
            event = await next_event(self._asked, self._tool)
            if isinstance(event, h11.Data):
                await self._send(event)
            moved()
            await self._take_turn()
        # Trailers are left behind: they would be headers that nobody has looked at.
        await self._send(h11.EndOfMessage())

    async def _send(self, event: h11.Event) -> None:
        data = self._asking.send(event) or b""
        self._wish.send(len(data))
        # A place may answer and close before it has read everything; what it says then counts.
        with suppress(OSError):
            await self._place.send(data)

    async def _bring_back(self, moved: Callable[[], None]) -> None:
        event: h11.Event | None = None
        length = None
        while not isinstance(event, h11.EndOfMessage):
            event = await self._answered()
            moved()
            if isinstance(event, h11.Response):
                length = body_length(event.headers)
            if not isinstance(event, h11.InformationalResponse):
                await self._answer(event)
                moved()
            if isinstance(event, h11.Data) and length is not None:
                await self._bring_rest(length - len(event.data), moved)
                event = h11.EndOfMessage()
                await self._answer(event)
            await self._take_turn()

    async def _bring_rest(self, left: int, moved: Callable[[], None]) -> None:
        """Bring the rest of a body of announced length, which has no parts to be parsed.

        h11 has given all of the body that it had, and would copy each byte three times.
        """
        while left:
            data = await self._place.receive()
            moved()
            if not data:
                raise refused(EgressReason.BROKEN, _CUT_OFF)
            self._wish.receive(len(data))
            await self._answer(h11.Data(data=data[:left]))
            left -= len(data[:left])
            moved()

    async def _answer(self, event: h11.Event) -> None:
        for data in self._asked.send_with_data_passthrough(_rewritten(event)) or ():
            await self._tool.send(data)

    async def _take_turn(self) -> None:
        """Let the loop have its turn: one read can hold thousands of chunks, one event each."""
        self._events += 1
        if self._events % _EVENTS_A_TURN == 0:
            await asyncio.sleep(0)

    async def _answered(self) -> h11.Event:
        try:
            while (event := self._asking.next_event()) is h11.NEED_DATA:
                data = await self._place.receive()
                self._wish.receive(len(data))
                self._asking.receive_data(data)
        except h11.RemoteProtocolError as error:
            raise refused(
                EgressReason.BROKEN,
                f"the place answers in no HTTP/1.1 ({error}): try another port, or https",
            ) from error
        if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            raise refused(EgressReason.BROKEN, _CUT_OFF)
        return cast("h11.Event", event)


def _rewritten(event: h11.Event) -> h11.Event:
    if isinstance(event, h11.Response):
        headers = passed_on(event.headers)
        return h11.Response(status_code=event.status_code, reason=event.reason, headers=headers)
    return h11.EndOfMessage() if isinstance(event, h11.EndOfMessage) else event
