"""Serve one connection to `http.sock`: an HTTP/1.1 proxy that goes by names.

Each connection carries one request. Plain HTTP is parsed and written anew by h11, so that no two
readers can take one text for two requests; of https nothing but the ClientHello is read.
"""

import asyncio
from collections.abc import Collection
from contextlib import suppress

import h11

from broker.adapters.egress_proxy.bounds import Bounds
from broker.adapters.egress_proxy.dial import Dialler
from broker.adapters.egress_proxy.exchange import Exchange, next_event
from broker.adapters.egress_proxy.heads import connect_target, passed_on, plain_target
from broker.adapters.egress_proxy.relay import relay
from broker.adapters.egress_proxy.tally import Wish, refused
from broker.adapters.egress_proxy.wire import Wire
from broker.core.client_hello import ClientHello, read_client_hello
from broker.core.destination import Destination, normal_host
from broker.core.egress import EgressReason
from broker.errors import EgressRefused

_MOST_FIRST_BYTES = 48 * 1024
# Fatal alert "unrecognized_name" (RFC 8446 §6): what a TLS library shows as a wrong server name.
_ALERT = bytes([21, 3, 3, 0, 2, 2, 112])
_CODES = {
    EgressReason.REQUEST_INVALID: 400,
    EgressReason.TOO_SLOW: 408,
    EgressReason.NAME_UNKNOWN: 502,
    EgressReason.PLACE_UNREACHABLE: 502,
    EgressReason.BROKEN: 502,
    EgressReason.IDLE: 504,
}


class HttpDoor:
    """Takes connections to one call's `http.sock`.

    Args:
        listed: The call's own list.
    """

    def __init__(self, dialler: Dialler, listed: Collection[Destination], bounds: Bounds) -> None:
        self._dialler = dialler
        self._listed = frozenset(listed)
        self._bounds = bounds

    async def serve(self, tool: Wire, wish: Wish) -> None:
        """Serve one connection to its end; a refusal is answered, then raised.

        Raises:
            EgressRefused: The tool may not go there, or the place could not be reached.
            OSError: A connection broke.
        """
        asked = h11.Connection(h11.SERVER, max_incomplete_event_size=self._bounds.head_bytes)
        try:
            request = await self._request(asked, tool)
            if request is None:
                raise refused(EgressReason.REQUEST_INVALID, "nothing was asked: send a request")
            if request.method == b"CONNECT":
                await self._tunnel(asked, tool, request, wish)
            else:
                await self._forward(asked, tool, request, wish)
        except h11.ProtocolError as error:
            fault = refused(
                EgressReason.REQUEST_INVALID,
                f"no HTTP/1.1 ({error}): send GET http://host/path or CONNECT host:port",
            )
            await _answer(asked, tool, fault)
            raise fault from error
        except EgressRefused as error:
            await _answer(asked, tool, error)
            raise

    async def _request(self, asked: h11.Connection, tool: Wire) -> h11.Request | None:
        try:
            async with asyncio.timeout(self._bounds.first_bytes_s):
                event = await next_event(asked, tool)
        except TimeoutError:
            raise refused(
                EgressReason.TOO_SLOW, "the request's head did not come in time: send it at once"
            ) from None
        return event if isinstance(event, h11.Request) else None

    async def _tunnel(
        self, asked: h11.Connection, tool: Wire, request: h11.Request, wish: Wish
    ) -> None:
        wish.kind = "connect"
        target = connect_target(request.target.decode("ascii"), list(request.headers))
        wish.destination = target
        place = await self._dialler.dial(target, self._listed)
        try:
            await next_event(asked, tool)
            await tool.send(asked.send(h11.Response(status_code=200, headers=[])) or b"")
            first = await self._first_flight(asked.trailing_data[0], tool, target)
            wish.connected()
            wish.send(len(first))
            await place.send(first)
            await relay(tool, place, wish, idle_s=self._bounds.idle_s)
        finally:
            place.abort()

    async def _first_flight(self, data: bytes, tool: Wire, target: Destination) -> bytes:
        """Read until the whole ClientHello is here; nothing goes on that it does not vouch for."""
        try:
            async with asyncio.timeout(self._bounds.first_bytes_s):
                while (hello := read_client_hello(data)) is None:
                    more = await tool.receive()
                    if not more or len(data) + len(more) > _MOST_FIRST_BYTES:
                        raise ValueError("ends before its ClientHello")
                    data += more
            _check_hello(hello, target)
        except TimeoutError:
            raise refused(
                EgressReason.TOO_SLOW, "the TLS ClientHello did not come in time: send it at once"
            ) from None
        except ValueError as error:
            raise refused(
                EgressReason.NOT_TLS,
                f"what was sent {error}: speak TLS in the tunnel, or ask for http://",
            ) from error
        except EgressRefused:
            with suppress(OSError):
                await tool.send(_ALERT)
            raise
        return data

    async def _forward(
        self, asked: h11.Connection, tool: Wire, request: h11.Request, wish: Wish
    ) -> None:
        wish.kind = "http"
        headers = list(request.headers)
        target, path = plain_target(request.target.decode("ascii"), headers)
        wish.destination = target
        place = await self._dialler.dial(target, self._listed)
        try:
            wish.connected()
            has_host = any(name == b"host" for name, _ in headers)
            host = () if has_host else ((b"host", str(target).removesuffix(":80").encode()),)
            onward = h11.Request(
                method=request.method, target=path.encode(), headers=passed_on(headers, *host)
            )
            await Exchange(asked, tool, place, wish, self._bounds).run(onward)
        except OSError as error:
            raise refused(EgressReason.BROKEN, "the connection broke: try again") from error
        finally:
            place.abort()


def _check_hello(hello: ClientHello, target: Destination) -> None:
    """Refuse a hello for another server than the one that was asked for.

    Raises:
        ValueError: Its server's name is none.
    """
    if hello.is_encrypted:
        raise refused(
            EgressReason.HELLO_ENCRYPTED, "an encrypted ClientHello hides its server: turn ECH off"
        )
    if target.is_literal:
        # No name is sent where the client connects to an address (RFC 6066 §3).
        if hello.server_name is not None:
            raise refused(
                EgressReason.SNI_MISMATCH,
                "TLS names a server, the request an address: connect by the name",
            )
    elif hello.server_name is None:
        raise refused(EgressReason.SNI_MISSING, "TLS names no server: turn SNI on")
    elif normal_host(hello.server_name) != target.host:
        raise refused(
            EgressReason.SNI_MISMATCH,
            "TLS names another server than the request: connect by that name",
        )


async def _answer(asked: h11.Connection, tool: Wire, error: EgressRefused) -> None:
    """Say why, where an answer can still be given."""
    if asked.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    text = f"{error.reason}: {error.message}\n".encode()
    response = h11.Response(
        status_code=_CODES.get(EgressReason(error.reason), 403),
        reason=error.reason.encode(),
        headers=[
            ("content-type", "text/plain; charset=utf-8"),
            ("content-length", str(len(text))),
            # Tells a refusal of the proxy from one of the place (RFC 9209).
            ("proxy-status", f'toolwarrant; error=http_request_denied; details="{error.reason}"'),
            ("connection", "close"),
        ],
    )
    with suppress(OSError, h11.LocalProtocolError):
        head = asked.send(response) or b""
        body = asked.send(h11.Data(data=text)) or b""
        await tool.send(head + body)
