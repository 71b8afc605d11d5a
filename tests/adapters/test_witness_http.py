"""Witnesses as HTTP shows them: behind TLS, gone, endless, elsewhere."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.adapters.pki import DevelopmentAuthority
from broker.adapters.witness_http import HttpWitnesses, WitnessAddress
from broker.core.witness import MAX_ANSWER_BYTES, Answer
from broker.errors import WitnessError

Served = Callable[[bytes], Awaitable[bytes]]
ANSWER = b"HTTP/1.1 %d\r\nContent-Type: text/x\r\n%bContent-Length: %d\r\n\r\n%b"


def answer(body: bytes, code: int = 200, more: bytes = b"") -> bytes:
    """Write an answer."""
    return ANSWER % (code, more, len(body), body)


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """Listen on some port."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Read a request to its end."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.lower().splitlines()
        if line.startswith(b"content-length")
    )
    return head + await reader.readexactly(length)


def always(
    reply: bytes, requests: list[bytes] | None = None
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """Answer each request alike."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = await read_request(reader)
                if requests is not None:
                    requests.append(request)
                writer.write(reply)
                await writer.drain()
        writer.close()

    return serve


async def ask(
    url: str, *, ca_file: Path | None = None, timeout_s: float = 10.0, times: int = 1
) -> Answer:
    """Ask a witness; give the last answer."""
    addresses = {"w": WitnessAddress(url=url, ca_file=ca_file)}
    gateway = await HttpWitnesses.open(addresses, timeout_s=timeout_s)
    try:
        for _ in range(times - 1):
            await gateway.add_checkpoint("w", b"old 0\n\nnote")
        return await gateway.add_checkpoint("w", b"old 0\n\nnote")
    finally:
        await gateway.close()


async def reason_of(work: Awaitable[Answer]) -> str:
    """Give why it failed."""
    with pytest.raises(WitnessError) as error:
        await work
    return error.value.reason


class TestAsk:
    @pytest.mark.parametrize("prefix", ["", "/", "/of/some", "/of/some/"])
    async def test_posts(self, prefix: str) -> None:
        """The question is posted below the prefix; the answer comes as it is."""
        requests: list[bytes] = []
        async with listening(always(answer(b"said", 409), requests)) as port:
            found = await ask(f"http://127.0.0.1:{port}{prefix}")
        assert found == Answer(code=409, content_type="text/x", body=b"said")
        (request,) = requests
        path = prefix.rstrip("/").encode()
        assert request.startswith(b"POST " + path + b"/add-checkpoint HTTP/1.1\r\n")
        assert request.endswith(b"\r\n\r\nold 0\n\nnote")

    async def test_tls(self, tmp_path: Path) -> None:
        """A witness behind TLS is believed by its authority alone."""
        authority, other = (DevelopmentAuthority(datetime.now(UTC)) for _ in range(2))
        pair = authority.issue_server("witness", "urn:witness", ("localhost",), ("127.0.0.1",))
        (tmp_path / "pair").write_bytes(pair.private_key_pem + pair.certificate_pem)
        (tmp_path / "ca.crt").write_bytes(authority.certificate_pem)
        (tmp_path / "other.crt").write_bytes(other.certificate_pem)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tmp_path / "pair")
        async with listening(always(answer(b"said")), context) as port:
            url = f"https://localhost:{port}"
            assert (await ask(url, ca_file=tmp_path / "ca.crt")).body == b"said"
            for file in (tmp_path / "other.crt", None):
                assert await reason_of(ask(url, ca_file=file)) == "WITNESS_UNREACHABLE"

    async def test_bound(self) -> None:
        """An answer of the largest size is read, one byte more is not, an endless one neither."""
        most = b"x" * MAX_ANSWER_BYTES
        async with listening(always(answer(most))) as port:
            assert (await ask(f"http://127.0.0.1:{port}")).body == most
        async with listening(always(answer(most + b"x"))) as port:
            reason = await reason_of(ask(f"http://127.0.0.1:{port}"))
            assert reason == "WITNESS_ANSWER_INVALID"

        async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            with suppress(ConnectionError):
                while True:
                    writer.write(bytes(65_536))
                    await writer.drain()
            writer.close()

        async with listening(endless) as port:
            reason = await reason_of(ask(f"http://127.0.0.1:{port}"))
            assert reason == "WITNESS_ANSWER_INVALID"

    async def test_packed(self) -> None:
        """What is packed stays packed: no small answer becomes a large one."""
        packed = answer(b"x", more=b"Content-Encoding: gzip\r\n")
        async with listening(always(packed)) as port:
            assert (await ask(f"http://127.0.0.1:{port}")).body == b"x"

    async def test_redirect(self) -> None:
        """A redirect is an answer like another, and is not followed."""
        followed: list[bytes] = []
        async with listening(always(answer(b"no"), followed)) as elsewhere:
            more = b"Location: http://127.0.0.1:%d/\r\n" % elsewhere
            async with listening(always(answer(b"", 307, more))) as port:
                assert (await ask(f"http://127.0.0.1:{port}")).code == 307
        assert followed == []

    async def test_no_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy of the environment is not used."""
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        async with listening(always(answer(b"said"))) as port:
            assert (await ask(f"http://127.0.0.1:{port}")).body == b"said"

    async def test_no_cookies(self) -> None:
        """What one witness wants remembered is told to nobody."""
        requests: list[bytes] = []
        wanted = answer(b"said", more=b"Set-Cookie: seen=1; Path=/\r\n")
        async with listening(always(wanted, requests)) as port:
            await ask(f"http://localhost:{port}", times=2)
        assert len(requests) == 2
        assert b"cookie" not in requests[1].lower()

    async def test_gone(self) -> None:
        """Nobody listens."""
        async with listening(always(b"")) as port:
            pass
        assert await reason_of(ask(f"http://127.0.0.1:{port}")) == "WITNESS_UNREACHABLE"

    @pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"])
    async def test_hanging(self, said: bytes) -> None:
        """One that never answers, or stops in the middle, is given up."""
        async with listening(always(said)) as port:
            url = f"http://127.0.0.1:{port}"
            assert await reason_of(ask(url, timeout_s=0.1)) == "WITNESS_UNREACHABLE"

    async def test_no_http(self) -> None:
        """One that speaks something else is no witness."""
        async with listening(always(b"SSH-2.0-x\r\n\r\n")) as port:
            assert await reason_of(ask(f"http://127.0.0.1:{port}")) == "WITNESS_UNREACHABLE"

    async def test_kept_connection_that_ended(self) -> None:
        """A connection that the witness closed between two questions costs no answer."""
        asked = 0

        async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            await read_request(reader)
            asked += 1
            writer.write(answer(b"said"))
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                # The next question is read, but its connection ends without an answer.
                await read_request(reader)
            writer.close()

        async with listening(once) as port:
            assert (await ask(f"http://127.0.0.1:{port}", times=2)).body == b"said"
        assert asked == 2
