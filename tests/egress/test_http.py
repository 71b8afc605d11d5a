"""Plain HTTP is read strictly and written anew."""

import asyncio

import pytest

SIZE = 1_000_000
"""Of a body, in bytes: more than is read at once."""


@pytest.fixture
async def place(places):
    """The listed place."""
    return f"site.test:{places.http}"


@pytest.fixture
async def tool(way_out, place):
    """A tool that may reach it."""
    return await way_out.open(place)


class TestRequests:
    async def test_go_on_with_their_bodies(self, tool, place):
        """Method, path, query, host and body arrive as sent."""
        answer = await tool.say(
            f"POST http://{place}/a/b?c=d HTTP/1.1\r\nHost: {place}\r\n"
            "Content-Length: 5\r\n\r\nhello".encode()
        )
        assert f"POST /a/b?c=d {place} hello".encode() in answer

    async def test_of_head_end_without_a_body(self, tool, place):
        """The length in an answer to HEAD is no promise of bytes."""
        answer = await tool.say(f"HEAD http://{place}/ HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n\r\n")

    async def test_that_ask_before_they_send_are_told_to_go_on(self, tool, place):
        """Expect: 100-continue is answered here; the body then arrives."""
        reader, writer = await tool.connect()
        head = f"POST http://{place}/ HTTP/1.1\r\nHost: {place}\r\nContent-Length: 2\r\n"
        writer.write(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(b"go")
        assert f"POST / {place} go".encode() in await reader.read()
        writer.close()

    async def test_are_answered_before_their_end(self, way_out):
        """A place that refuses a body without reading it is heard."""

        async def refuse(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            await reader.read()
            writer.close()

        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        place = f"site.test:{server.sockets[0].getsockname()[1]}"
        tool = await way_out.open(place)
        head = f"POST http://{place}/ HTTP/1.1\r\nHost: {place}\r\nContent-Length: 100\r\n\r\n"
        assert (await tool.say(head.encode() + b"half")).startswith(b"HTTP/1.1 413 ")
        server.close()

    async def test_in_chunks_arrive(self, way_out, places):
        """A body of unknown length is carried on in chunks, without trailers."""
        echo = f"site.test:{places.echo}"
        tool = await way_out.open(echo)
        reader, writer = await tool.connect()
        head = f"POST http://{echo}/ HTTP/1.1\r\nHost: {echo}\r\nTransfer-Encoding: chunked\r\n"
        writer.write(f"{head}\r\n2\r\ngo\r\n0\r\nX-Trailer: y\r\n\r\n".encode())
        # The echo is no answer in HTTP, which is told; what was sent is in the count.
        assert b" 502 BROKEN" in await reader.read()
        writer.close()

    async def test_of_tiny_chunks_leave_the_loop_its_turns(self, way_out):
        """An answer of 20,000 chunks, most of them there at once, does not hold up everybody."""
        turns = 0

        async def drip(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            writer.write(head + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n")
            writer.close()

        async def count():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        server = await asyncio.start_server(drip, "127.0.0.1", 0)
        place = f"site.test:{server.sockets[0].getsockname()[1]}"
        tool = await way_out.open(place)
        counting = asyncio.create_task(count())
        answer = await tool.get(place)
        counting.cancel()
        server.close()
        assert answer.count(b"x") >= 20_000
        assert turns > 20_000 // 32

    async def test_need_the_host_that_they_name(self, tool, place):
        """A Host header that names somebody else is refused."""
        answer = await tool.get(place, host="other.test")
        assert answer.startswith(b"HTTP/1.1 403 HOST_MISMATCH")
        # The twin: the raw server would believe it.
        assert b" 200 " in await tool.get(place, host=place.upper())

    async def test_are_one_a_connection(self, tool, place):
        """What follows a request is not a second one, whoever wrote it."""
        smuggled = f"GET http://{place}/second HTTP/1.1\r\nHost: {place}\r\n\r\n"
        answer = await tool.say(
            f"GET http://{place}/first HTTP/1.1\r\nHost: {place}\r\n\r\n{smuggled}".encode()
        )
        assert b"/first" in answer
        assert b"/second" not in answer

    @pytest.mark.parametrize(
        "head",
        [
            "GET / HTTP/1.1\r\nHost: {0}",
            "GET https://{0}/ HTTP/1.1\r\nHost: {0}",
            "GET http://{0}/#x HTTP/1.1\r\nHost: {0}",
            "GET http://{0}/ HTTP/1.1",
            "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\nHost: other.test",
            "GET http://{0}/ HTTP/1.1\r\n Host: {0}",
            "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\nX : y",
            "POST http://{0}/ HTTP/1.1\r\nHost: {0}\r\nContent-Length: 1\r\nContent-Length: 2",
            "POST http://{0}/ HTTP/1.1\r\nHost: {0}\r\nContent-Length: 1\r\nTE: x\r\n{1}",
            "POST http://{0}/ HTTP/1.1\r\nHost: {0}\r\nTransfer-Encoding: gzip, chunked",
            "POST http://{0}/ HTTP/1.1\r\nHost: {0}\r\nTransfer-Encoding:\x0bchunked",
            "POST http://{0}/ HTTP/1.1\r\nHost: {0}\r\nContent-Length: +1",
            "CONNECT {0} HTTP/1.1\r\nHost: {0}\r\nContent-Length: 1",
            "PRI * HTTP/2.0",
            "hello",
        ],
    )
    async def test_that_could_be_read_in_two_ways_are_refused(self, tool, place, head):
        """No other form, no folded line, no two lengths, no length beside a coding."""
        answer = await tool.say(
            f"{head.format(place, 'Transfer-Encoding: chunked')}\r\n\r\n".encode()
        )
        assert b" REQUEST_INVALID\r\n" in answer.partition(b"\n")[0] + b"\n", answer
        assert [visit[1] for visit in await tool.visits()] == ["refused"]

    @pytest.mark.parametrize(
        "authority", ["user@{0}", "127.1:80", "a b", "", "{0}:80", "exa%6d:80"]
    )
    async def test_to_no_proper_host_are_refused(self, tool, place, authority):
        """Credentials, short addresses and escapes are no host."""
        answer = await tool.get(authority.format(place), host=place)
        assert answer.startswith((b"HTTP/1.1 403 NAME_INVALID", b"HTTP/1.1 400 REQUEST_INVALID"))

    async def test_with_an_endless_head_are_refused(self, way_out, place):
        """A head is held up to its bound, no further."""
        tool = await way_out.open(place, head_bytes=1024)
        answer = await tool.say(b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 4096)
        assert b" REQUEST_INVALID" in answer

    async def test_keep_no_words_of_the_connection(self, tool, place):
        """Hop-by-hop headers end here, those that Connection names among them."""
        answer = await tool.say(
            f"GET http://{place}/ HTTP/1.1\r\nHost: {place}\r\nConnection: keep-alive, x\r\n"
            "Upgrade: websocket\r\nProxy-Authorization: y\r\nX: z\r\n\r\n".encode()
        )
        assert b" 200 " in answer
        assert answer.lower().count(b"connection:") == 1


class TestAnswers:
    @pytest.mark.parametrize(
        ("announced", "sent", "arrives"),
        [(SIZE, SIZE, SIZE), (SIZE, SIZE + 9, SIZE), (SIZE, SIZE - 1, SIZE - 1), (3, 9, 3)],
        ids=["whole", "more than announced", "cut off", "more at once"],
    )
    async def test_of_announced_length_are_so_long(self, way_out, announced, sent, arrives):
        """No byte beyond it goes on; one that ends before it is broken, and not a shorter one."""

        async def answer(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {announced}\r\n\r\n"
            writer.write(head.encode() + b"x" * sent)
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        place = f"site.test:{server.sockets[0].getsockname()[1]}"
        tool = await way_out.open(place)
        head, _, body = (await tool.get(place)).partition(b"\r\n\r\n")
        server.close()
        assert f"content-length: {announced}".encode() in head.lower()
        assert body == b"x" * arrives
        ((_, _, reason),) = await tool.visits()
        assert reason == ("BROKEN" if arrives < announced else "")


class TestRedirects:
    async def test_go_through_the_list_again(self, way_out, places, tool, place):
        """The proxy follows none; the client that does meets the list."""
        forbidden = f"other.test:{places.http}"
        answer = await tool.get(place, f"/to/http://{forbidden}/")
        assert f"location: http://{forbidden}/".encode() in answer.lower()
        assert b" NOT_LISTED" in await tool.get(forbidden)
        # The twin: listed, the redirect leads there.
        both = await way_out.open(place, forbidden)
        assert b" 200 " in await both.get(forbidden)
