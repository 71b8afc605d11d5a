"""What a call's connections may take of the broker, and what is left when they end."""

import asyncio
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from broker.adapters.egress_proxy import EgressProxy
from broker.adapters.egress_proxy.folder import Folders
from broker.core.destination import read_destination
from broker.core.egress import Egress, EgressProtocol
from broker.errors import SandboxError
from tests.egress.places import Names

TCP = EgressProtocol.TCP


@pytest.fixture
async def echo(places):
    """A place that sends back what it gets."""
    return f"site.test:{places.echo}"


async def _round_trip(tool, echo):
    """Let the broker do whatever it can do meanwhile."""
    reader, writer = await tool.connect(f"tcp/{echo}")
    writer.write(b"x")
    await reader.readexactly(1)
    writer.close()


def _names(folder):
    return [entry.name for entry in folder.iterdir()]


class TestRaw:
    async def test_bytes_pass_as_they_are(self, way_out, echo):
        """A raw socket carries both directions, half-closed ones too."""
        tool = await way_out.open(echo, protocol=TCP)
        reader, writer = await tool.connect(f"tcp/{echo}")
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read() == b"hello"
        (visit,) = (await tool.report()).visits
        assert (visit.kind, visit.sent_bytes, visit.received_bytes) == ("tcp", 5, 5)

    async def test_a_tool_of_http_has_no_raw_socket(self, way_out, echo):
        """The list alone opens no way past the look at names."""
        tool = await way_out.open(echo)
        assert _names(tool.folder / "tcp") == []
        assert not (await way_out.open(echo, protocol=TCP)).folder.joinpath("http.sock").exists()

    async def test_a_link_leads_to_it(self, way_out, echo, root):
        """A client that wants its socket by another name finds it through a link."""
        tool = await way_out.open(echo, protocol=TCP)
        link = root / "by-another-name"
        link.symlink_to(tool.folder / "tcp" / echo)
        reader, writer = await asyncio.open_unix_connection(link)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        writer.close()

    async def test_a_long_name_has_a_socket_too(self, way_out):
        """A name longer than an address of a socket is a file like any other."""
        place = ".".join(["a" * 50] * 4) + ":5432"
        tool = await way_out.open(place, protocol=TCP)
        assert _names(tool.folder / "tcp") == [place]


class TestBounds:
    async def test_connections_at_a_time(self, way_out, echo):
        """One connection too many is closed; when one ends, another may come."""
        tool = await way_out.open(echo, protocol=TCP, connections=2)
        name = f"tcp/{echo}"
        held = [await tool.connect(name) for _ in range(2)]
        for reader, writer in held:
            writer.write(b"x")
            await reader.readexactly(1)
        assert await tool.say(b"", name) == b""
        held[0][1].write_eof()
        await held[0][0].read()
        assert [visit[2] for visit in await tool.visits()] == [
            "",
            "CALL_ENDED",
            "TOO_MANY_CONNECTIONS",
        ]

    async def test_wishes_in_all(self, way_out):
        """With one wish too many the sockets close: no flood fills the record, or the loop."""
        tool = await way_out.open("site.test:80", wishes=3)
        for _ in range(4):
            await tool.get("evil.test:80")
        with pytest.raises(ConnectionRefusedError):
            await tool.get("evil.test:80")
        report = await tool.report()
        assert (len(report.visits), report.unlisted) == (3, 1)
        assert report.totals["refused"] == "4"

    @pytest.mark.parametrize(("size", "passes"), [(1000, True), (1001, False)])
    async def test_bytes_of_the_whole_call(self, way_out, echo, size, passes):
        """The sum over connections counts, to the byte."""
        tool = await way_out.open(echo, protocol=TCP, bytes_each_way=1000)
        for piece in (600, size - 600):
            reader, writer = await tool.connect(f"tcp/{echo}")
            writer.write(b"x" * piece)
            writer.write_eof()
            got = await reader.read()
            writer.close()
        assert (len(got) == size - 600) is passes
        assert (await tool.visits())[1][2] == ("" if passes else "TOO_MANY_BYTES")

    async def test_bytes_that_go_out(self, way_out, places):
        """A tool that sends more than the call may send is cut off, whatever comes back."""
        place = f"site.test:{places.http}"
        tool = await way_out.open(place, bytes_each_way=4000)
        head = f"POST http://{place}/to/x HTTP/1.1\r\nHost: {place}\r\nContent-Length: 5000\r\n\r\n"
        await tool.say(head.encode() + b"x" * 5000)
        (visit,) = (await tool.report()).visits
        assert (visit.reason.value, visit.received_bytes) == ("TOO_MANY_BYTES", 0)

    async def test_bytes_that_come_back(self, way_out, places):
        """A place that sends more than the call may receive is cut off."""
        place = f"site.test:{places.http}"
        tool = await way_out.open(place, bytes_each_way=100_000)
        assert len(await tool.get(place, "/big/200000")) < 200_000
        assert [visit[2] for visit in await tool.visits()] == ["TOO_MANY_BYTES"]

    async def test_a_silent_connection_ends(self, way_out, echo):
        """A half-open peer has its time."""
        tool = await way_out.open(echo, protocol=TCP, idle_s=0.05)
        assert await tool.say(b"", f"tcp/{echo}") == b""
        assert await tool.visits() == [("site.test", "connected", "IDLE")]

    async def test_a_silent_client_ends(self, way_out):
        """A request's head has its time."""
        tool = await way_out.open("site.test:80", first_bytes_s=0.05)
        assert b" 408 TOO_SLOW" in await tool.say(b"GET ")

    async def test_a_reader_that_does_not_read_stops_the_sender(self, way_out, echo):
        """What nobody takes is not read: the broker holds a few pieces, no more."""
        tool = await way_out.open(echo, protocol=TCP)
        _, writer = await tool.connect(f"tcp/{echo}")
        writer.write(b"x" * (64 << 20))
        left, before = 64 << 20, 0
        while left != before:
            before = left
            for _ in range(20):
                await _round_trip(tool, echo)
            left = writer.transport.get_write_buffer_size()
        visit = (await tool.report()).visits[0]
        writer.close()
        # Most of it is the kernel's, in the buffers of four sockets.
        assert 0 < visit.sent_bytes < 32 << 20


class TestDescriptors:
    async def test_that_are_passed_are_closed(self, way_out, echo):
        """A file descriptor over the socket goes nowhere: the kernel closes it."""
        tool = await way_out.open(echo, protocol=TCP)
        read_end, write_end = os.pipe()
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(tool.folder / "tcp" / echo))
        socket.send_fds(client, [b"hello"], [write_end])
        os.close(write_end)
        client.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(client, 5) == b"hello"
        # Were it held anywhere, the pipe would have no end.
        assert await asyncio.to_thread(os.read, read_end, 1) == b""
        client.close()
        os.close(read_end)

    def test_are_kept_by_whoever_asks_for_them(self):
        """The twin: a peer that receives descriptors holds the pipe open."""
        read_end, write_end = os.pipe()
        here, there = socket.socketpair(socket.AF_UNIX)
        socket.send_fds(here, [b"hello"], [write_end])
        os.close(write_end)
        _, passed, _, _ = socket.recv_fds(there, 5, 1)
        os.set_blocking(read_end, False)
        with pytest.raises(BlockingIOError):
            os.read(read_end, 1)
        os.close(passed[0])
        os.close(read_end)
        here.close()
        there.close()


class TestEnd:
    async def test_cuts_every_connection(self, way_out, echo):
        """When the way out closes nothing is left: no connection, socket or folder."""
        tool = await way_out.open(echo, protocol=TCP)
        reader, writer = await tool.connect(f"tcp/{echo}")
        writer.write(b"x")
        await reader.readexactly(1)
        assert await tool.visits() == [("site.test", "connected", "CALL_ENDED")]
        assert await reader.read() == b""
        assert not tool.folder.exists()
        with pytest.raises(FileNotFoundError):
            await tool.connect(f"tcp/{echo}")

    async def test_is_the_same_twice(self, way_out, echo):
        """Whoever closes second reads the same report."""
        tool = await way_out.open(echo)
        await tool.get(echo)
        assert await tool.report() == await tool.report()


class TestFolder:
    async def test_is_the_brokers_alone(self, way_out, root):
        """Others on the host do not get to the sockets; the container writes nothing there."""
        tool = await way_out.open("site.test:80")
        assert root.stat().st_mode & 0o777 == 0o700
        assert tool.folder.stat().st_mode & 0o777 == 0o755

    async def test_is_named_as_the_engine_names_it(self, root, names):
        """A path with detours is made plain: read back, it is compared."""
        proxy = EgressProxy(root / "x" / "..", installation="t", resolver=names)
        outlet = await proxy.open("s", Egress(destinations=(read_destination("site.test:80"),)))
        await outlet.close()
        assert outlet.folder == root / "t.s"

    async def test_that_is_open_to_others_is_refused(self, way_out, root):
        """A folder that somebody else may enter is not used, and not changed."""
        root.chmod(0o755)
        with pytest.raises(SandboxError, match="mode 0700"):
            await way_out.open("site.test:80")
        assert root.stat().st_mode & 0o777 == 0o755

    async def test_is_swept_where_no_slot_has_it(self, root: Path):
        """What an earlier life left goes; what runs, and what others have, stays."""

        def proxy(installation: str) -> EgressProxy:
            return EgressProxy(root, installation=installation, resolver=Names())

        egress = Egress(destinations=(read_destination("site.test:80"),))
        kept = [
            await proxy("ours").open("live", egress),
            await proxy("theirs").open("old", egress),
        ]
        left = await proxy("ours").open("old", egress)
        await proxy("ours").sweep({"live"})
        assert [outlet.folder.exists() for outlet in (*kept, left)] == [True, True, False]
        for outlet in (*kept, left):
            await outlet.close()

    async def test_that_is_just_made_survives_a_sweep(self, root: Path):
        """A container that came after the sweep began, and before it looked, keeps its sockets."""
        proxy = EgressProxy(root, installation="ours", resolver=Names())
        gate, slots = threading.Event(), {"earlier"}
        threads = ThreadPoolExecutor(1)
        asyncio.get_running_loop().set_default_executor(threads)
        threads.submit(gate.wait)
        sweeping = asyncio.create_task(proxy.sweep(slots))
        await asyncio.sleep(0)
        # The sweep stands in line behind the gate: this is what goes on meanwhile.
        slots.add("new")
        folder, sockets = Folders(root, installation="ours").make("new", ["http.sock"], b"")
        gate.set()
        await sweeping
        assert (folder / "http.sock").exists()
        for listening in sockets:
            listening.close()
