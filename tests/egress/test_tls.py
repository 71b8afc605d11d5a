"""Of https the ClientHello alone is read; it has to name the server that was asked for."""

import ssl

import pytest

from broker.core.egress import EgressProtocol
from tests.core.test_client_hello import ECH, hello_of, made, names, records

UNRECOGNIZED_NAME = bytes([21, 3, 3, 0, 2, 2, 112])


@pytest.fixture
async def place(places):
    """The listed place."""
    return f"site.test:{places.https}"


@pytest.fixture
async def tool(way_out, place):
    """A tool that may reach it."""
    return await way_out.open(place)


class TestTunnel:
    async def test_carries_tls_end_to_end(self, tool, place, tls):
        """The tool verifies the place's own certificate, and gets the page."""
        answer = await tool.get_tls(place, tls, sni="site.test")
        assert f"GET / {place}".encode() in answer
        report = await tool.report()
        assert [visit.kind for visit in report.visits] == ["connect"]
        assert report.visits[0].sent_bytes > 0
        assert report.visits[0].received_bytes > len(answer)

    async def test_to_an_unlisted_place_is_refused(self, tool, places):
        """CONNECT meets the same list."""
        answer, _, writer = await tool.tunnel(f"other.test:{places.https}")
        writer.close()
        assert answer == b"HTTP/1.1 403 NOT_LISTED\r\n".strip()

    async def test_takes_a_hello_that_comes_in_pieces(self, tool, place):
        """Bytes that come one by one are one hello; the place answers it."""
        answer, reader, writer = await tool.tunnel(place)
        assert b" 200 " in answer
        for byte in hello_of("site.test"):
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await reader.read(1)) == b"\x16"
        writer.close()

    async def test_takes_a_hello_that_comes_with_the_request(self, tool, place):
        """A client that does not wait for the 200 loses nothing."""
        head = f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode()
        reader, writer = await tool.connect()
        writer.write(head + hello_of("site.test"))
        await reader.readuntil(b"\r\n\r\n")
        assert (await reader.read(1)) == b"\x16"
        writer.close()


class TestHello:
    async def test_with_another_server_is_refused(self, way_out, tool, place, tls):
        """A listed place is no door to whatever else its address serves."""
        with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
            await tool.get_tls(place, tls, sni="other.test")
        report = await tool.report()
        assert [(visit.reason.value, visit.sent_bytes) for visit in report.visits] == [
            ("SNI_MISMATCH", 0)
        ]
        # The twin: the raw socket lets the same hello pass, and the server answers to it.
        raw = await way_out.open(place, protocol=EgressProtocol.TCP)
        _, writer = await raw.connect(f"tcp/{place}")
        await writer.start_tls(tls, server_hostname="other.test")
        writer.close()

    @pytest.mark.parametrize(
        ("first", "reason"),
        [
            (hello_of(None), "SNI_MISSING"),
            (records(made(names(b"site.test"), ECH)), "HELLO_ENCRYPTED"),
            (records(made(names(b"other.test")), 20), "SNI_MISMATCH"),
            (records(made(names(b"127.0.0.1"))), "SNI_MISMATCH"),
            (b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n", "NOT_TLS"),
            (b"SSH-2.0-x\r\n", "NOT_TLS"),
            (records(made(names(b"site.test", b"other.test"))), "NOT_TLS"),
            (records(made(names(b"site.test")), 1), "NOT_TLS"),
            (b"\x16\x03\x01\x40\x00" + b"\x01\x00\x7f\x00" + b"x" * (1 << 15), "NOT_TLS"),
        ],
    )
    async def test_that_does_not_vouch_for_the_place_is_refused(
        self, way_out, tool, places, place, first, reason
    ):
        """No name, a hidden or another one, two names, no TLS: not a byte goes on."""
        assert await tool.over_tunnel(place, first) in (b"", UNRECOGNIZED_NAME)
        report = await tool.report()
        found = [(visit.verdict.value, visit.reason.value) for visit in report.visits]
        assert found == [("refused", reason)]
        assert report.visits[0].sent_bytes == 0
        # The twin: by the raw socket the same bytes arrive.
        echo = f"site.test:{places.echo}"
        raw = await way_out.open(echo, protocol=EgressProtocol.TCP)
        reader, writer = await raw.connect(f"tcp/{echo}")
        writer.write(first)
        assert await reader.readexactly(len(first)) == first
        writer.close()

    async def test_that_never_comes_is_not_waited_for(self, way_out, place):
        """A silent client has its time, then the connection is gone."""
        tool = await way_out.open(place, first_bytes_s=0.05)
        assert await tool.over_tunnel(place, b"") == b""
        assert [visit[2] for visit in await tool.visits()] == ["TOO_SLOW"]

    async def test_to_a_listed_address_names_nobody(self, way_out, places, tls):
        """A client that connects to an address sends no name; one that does is refused."""
        place = f"127.0.0.1:{places.https}"
        tool = await way_out.open(place)
        assert (await tool.over_tunnel(place, hello_of("site.test"))) == UNRECOGNIZED_NAME
        _, reader, writer = await tool.tunnel(place)
        writer.write(hello_of(None))
        assert (await reader.read(1)) == b"\x16"
        writer.close()
