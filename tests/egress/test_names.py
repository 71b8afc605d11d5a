"""Who may be reached is a matter of the call's list, then of the address."""

import asyncio
import ipaddress
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from broker.adapters.egress_proxy import SystemResolver
from broker.core.egress import EgressProtocol
from tests.core.test_destination import DENIED
from tests.egress.places import LOOPBACK


class TestList:
    async def test_opens_exactly_its_places(self, way_out, places):
        """A listed host with its port is reached, the page comes back."""
        tool = await way_out.open(f"site.test:{places.http}")
        answer = await tool.get(f"site.test:{places.http}", "/a?b")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert await tool.visits() == [("site.test", "connected", "")]

    @pytest.mark.parametrize("written", ["SITE.Test:{}", "site.test.:{}"])
    async def test_knows_a_name_in_every_spelling(self, way_out, places, written):
        """Case and a final dot make no other place."""
        tool = await way_out.open(f"site.test:{places.http}")
        assert b" 200 " in await tool.get(written.format(places.http))

    @pytest.mark.parametrize("asked", ["evil.test:{}", "127.0.0.1:{}", "localhost:{}", "[::1]:{}"])
    async def test_opens_nothing_else(self, way_out, places, names, asked):
        """Another name, or the address itself, is refused with what to do; nobody is asked."""
        place = asked.format(places.http)
        tool = await way_out.open(f"site.test:{places.http}")
        answer = await tool.get(place)
        assert answer.startswith(b"HTTP/1.1 403 NOT_LISTED\r\n")
        assert answer.endswith(b"is not on this call's list: call with a URL that is\n")
        assert names.asked == []
        # The twin: on the list, the same request passes (an IPv6 place is not served here).
        if "[" not in asked:
            assert b" 200 " in await (await way_out.open(place)).get(place)

    async def test_is_of_ports_too(self, way_out, places):
        """Another port of a listed host is another place."""
        tool = await way_out.open(f"site.test:{places.echo}")
        assert b" NOT_LISTED" in await tool.get(f"site.test:{places.http}")

    async def test_is_each_calls_own(self, way_out, places):
        """Two ways out that are open at once keep their own lists."""
        one = await way_out.open(f"one.test:{places.http}")
        two = await way_out.open(f"two.test:{places.http}")
        for tool, own, other in ((one, "one", "two"), (two, "two", "one")):
            assert b" 200 " in await tool.get(f"{own}.test:{places.http}")
            assert b" 403 " in await tool.get(f"{other}.test:{places.http}")

    async def test_keeps_unlisted_names_from_name_servers(self, way_out, places, names):
        """Data in a name goes nowhere: who is not listed is not looked up."""
        name = f"c2vjcmv0.evil.test:{places.http}"
        tool = await way_out.open(f"site.test:{places.http}")
        await tool.get(name)
        assert names.asked == []
        # The twin: where the list has it, the name server hears it.
        await (await way_out.open(name)).get(name)
        assert names.asked == ["c2vjcmv0.evil.test"]


class TestAddresses:
    @pytest.mark.parametrize("address", DENIED)
    async def test_that_are_not_public_are_not_dialled(self, way_out, names, address):
        """A listed name that leads to a denied address is refused.

        The twins stand below for what can be dialled here without harm; the others' limit is
        the reason that is read back.
        """
        names.table["site.test"] = (address,)
        tool = await way_out.open("site.test:80", allow=())
        assert b" 403 ADDRESS_DENIED" in await tool.get("site.test:80")

    @pytest.mark.parametrize(
        ("address", "opened"),
        [("127.0.0.1", "127.0.0.0/8"), ("::ffff:127.0.0.1", "::ffff:127.0.0.0/104")],
    )
    async def test_that_the_operator_opened_are(self, way_out, places, names, address, opened):
        """The twin: with its network opened, the same name reaches this machine."""
        names.table["site.test"] = (address,)
        place = f"site.test:{places.http}"
        closed = await way_out.open(place, allow=())
        assert b" ADDRESS_DENIED" in await closed.get(place)
        tool = await way_out.open(place, allow=(ipaddress.ip_network(opened),))
        assert b" 200 " in await tool.get(place)

    async def test_are_all_checked(self, way_out, places, names):
        """One bad address among good ones is enough: its owner would choose which is dialled."""
        names.table["site.test"] = ("127.0.0.1", "10.0.0.1")
        tool = await way_out.open(f"site.test:{places.http}")
        assert b" ADDRESS_DENIED" in await tool.get(f"site.test:{places.http}")

    async def test_are_asked_for_once(self, way_out, places, names):
        """What was checked is dialled: a second answer would have no check."""
        tool = await way_out.open(f"site.test:{places.http}")
        await tool.get(f"site.test:{places.http}")
        assert names.asked == ["site.test"]

    @pytest.mark.parametrize("protocol", EgressProtocol)
    async def test_count_for_literals_too(self, way_out, places, protocol):
        """A listed address is dialled only where it is public, or opened."""
        place = f"127.0.0.1:{places.http}"
        http = protocol is EgressProtocol.HTTP
        request = f"GET http://{place}/ HTTP/1.0\r\nHost: {place}\r\n\r\n" if http else ""
        raw = request or f"GET / HTTP/1.0\r\nHost: {place}\r\n\r\n"
        socket = "http.sock" if http else f"tcp/{place}"
        closed = await way_out.open(place, protocol=protocol, allow=())
        assert b" 200 " not in await closed.say(raw.encode(), socket)
        opened = await way_out.open(place, protocol=protocol, allow=(LOOPBACK,))
        assert b" 200 " in await opened.say(raw.encode(), socket)

    async def test_that_nobody_knows_are_said(self, way_out, names):
        """A name without an address is a failure, not a refusal."""
        names.table["site.test"] = ()
        tool = await way_out.open("site.test:80")
        assert b" 502 NAME_UNKNOWN" in await tool.get("site.test:80")
        assert await tool.visits() == [("site.test", "failed", "NAME_UNKNOWN")]

    async def test_where_nobody_listens_are_said(self, way_out):
        """A place that refuses is a failure."""
        tool = await way_out.open("site.test:1")
        assert b" 502 PLACE_UNREACHABLE" in await tool.get("site.test:1")


@contextmanager
def no_room_for_threads() -> Iterator[None]:
    """Ask for stacks that no machine has, so that no thread can be started."""
    threading.stack_size(1 << 46)
    try:
        yield
    finally:
        threading.stack_size(0)


class TestLookups:
    async def test_that_cannot_begin_give_their_places_back(self) -> None:
        """Where no thread can be had a name has no address; later there are as many places."""
        resolver = SystemResolver()
        with no_room_for_threads():
            for number in range(40):
                async with asyncio.timeout(10):
                    assert await resolver.addresses(f"h{number}.test") == ()
        async with asyncio.timeout(10):
            assert await resolver.addresses("127.0.0.1") == (ipaddress.ip_address("127.0.0.1"),)
