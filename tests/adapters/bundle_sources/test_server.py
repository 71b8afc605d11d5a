"""Bundles from a bundle server, a real one on loopback."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from broker.adapters.bundle_sources import Bearer, BundleServer
from broker.adapters.pki import DevelopmentAuthority
from broker.adapters.secret_sources import ConfiguredSecrets
from broker.errors import BundleSourceUnavailable, ConfigurationError
from broker.shipped import policies_dir
from tests.adapters.bundle_sources.bundle_server import StandingServer, certify, gives, says

ARCHIVE = (policies_dir() / "bundle.tar.gz").read_bytes()
TOKEN = "t0ken-of-the-broker"
MOST_BYTES = len(ARCHIVE)


@pytest.fixture
async def standing() -> AsyncIterator[StandingServer]:
    """A server that has the shipped bundle."""
    async with StandingServer() as server:
        server.answers = [gives(ARCHIVE, '"1"')]
        yield server


def client(
    url: str, *, timeout_s: float = 20, ca: Path | None = None, bearer: Bearer | None = None
) -> BundleServer:
    """Make a client that hardly waits between its attempts."""
    return BundleServer(
        url,
        bearer=bearer,
        ca_file=ca,
        timeout_s=timeout_s,
        most_bytes=MOST_BYTES,
        first_wait_s=0.001,
    )


async def refusal(source: BundleServer) -> str:
    """Look in vain; give the message, which never has the token."""
    with pytest.raises(BundleSourceUnavailable) as caught:
        await source.look()
    assert TOKEN not in caught.value.message
    return caught.value.message


class TestProtocol:
    async def test_asked_as_opa_asks(self, standing: StandingServer) -> None:
        """The first request names no tag, wants snapshots alone, and nothing compressed."""
        assert await client(standing.url).look() == ARCHIVE
        (headers,) = standing.asked
        assert "If-None-Match" not in headers
        assert headers["Prefer"] == "modes=snapshot"
        assert headers["Accept-Encoding"] == "identity"
        assert "Authorization" not in headers

    async def test_not_modified(self, standing: StandingServer) -> None:
        """The tag of what was had is named in the next request, and 304 is: the same."""
        source = client(standing.url)
        assert [await source.look(), await source.look()] == [ARCHIVE, None]
        assert standing.asked[1]["If-None-Match"] == '"1"'

    async def test_another_tag(self, standing: StandingServer) -> None:
        """A bundle under another tag is had whole, and its tag is named from then on."""
        source = client(standing.url)
        await source.look()
        standing.answers = [gives(b"newer", '"2"')]
        assert [await source.look(), await source.look()] == [b"newer", None]

    async def test_without_tags(self, standing: StandingServer) -> None:
        """A server that knows no tags gives its bundle each time."""
        standing.answers = [gives(ARCHIVE)]
        source = client(standing.url)
        assert [await source.look(), await source.look()] == [ARCHIVE, ARCHIVE]
        assert "If-None-Match" not in standing.asked[1]

    async def test_as_it_comes(self, standing: StandingServer) -> None:
        """Bytes that are called compressed are not inflated: no bomb, and a bundle is gzipped."""
        squeezed = gzip.compress(b"0" * 10_000)
        standing.answers = [gives(squeezed, Content_Encoding="gzip")]
        assert await client(standing.url).look() == squeezed

    async def test_query_is_not_told(self) -> None:
        """What stands behind the question mark may be a signature: no message has it."""
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{nobody.getsockname()[1]}/b.tar.gz?sig={TOKEN}"
            assert client(url).name == url.partition("?")[0]
            assert "cannot be reached" in await refusal(client(url))

    async def test_no_proxy_of_the_environment(
        self, standing: StandingServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Variables that name a proxy change nothing."""
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        assert await client(standing.url).look() == ARCHIVE


class TestRefused:
    @pytest.mark.parametrize(
        ("status", "attempts", "said"),
        [
            (204, 1, "see that bundles.url names a bundle"),
            (206, 1, "see that bundles.url names a bundle"),
            (304, 1, "a redirect or nothing"),
            (401, 1, "see that bundles.token"),
            (403, 1, "see that bundles.token"),
            (404, 1, "see that bundles.url names a bundle"),
            (429, 3, "answers 429"),
            (500, 3, "answers 500"),
            (503, 3, "answers 503"),
        ],
    )
    async def test_status(
        self, standing: StandingServer, status: int, attempts: int, said: str
    ) -> None:
        """Whatever is no bundle is said with its status; what may pass is tried three times."""
        standing.answers = [says(status)]
        message = await refusal(client(standing.url))
        assert f"answers {status}" in message
        assert said in message
        assert len(standing.asked) == attempts

    async def test_passing(self, standing: StandingServer) -> None:
        """A fault that is over at the third attempt is none."""
        standing.answers = [says(503), says(502), gives(ARCHIVE)]
        assert await client(standing.url).look() == ARCHIVE

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_redirect(self, standing: StandingServer, tmp_path: Path, status: int) -> None:
        """No redirect is followed, whose target would get the token."""
        async with StandingServer() as other:
            other.answers = [gives(ARCHIVE)]
            standing.answers = [says(status, Location=other.url)]
            source = client(standing.url, bearer=bearer(tmp_path / "token"))
            assert "none is followed" in await refusal(source)
            assert other.asked == []

    async def test_nobody_there(self) -> None:
        """A port where nobody listens is a fault, not an end."""
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            port = nobody.getsockname()[1]
            assert "cannot be reached" in await refusal(client(f"http://127.0.0.1:{port}/b"))


class TestBody:
    async def test_largest(self, standing: StandingServer) -> None:
        """As many bytes as may be are had, one more is not."""
        source = client(standing.url)
        assert await source.look() == ARCHIVE
        standing.answers = [gives(ARCHIVE + b"0")]
        assert f"more than {MOST_BYTES} bytes" in await refusal(source)

    async def test_endless(self, standing: StandingServer) -> None:
        """A body of no announced size ends for its reader with the most that it takes."""
        ended = asyncio.Event()

        async def pour(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            try:
                while True:
                    await response.write(bytes(65536))
            finally:
                ended.set()

        standing.answers = [pour]
        assert f"more than {MOST_BYTES} bytes" in await refusal(client(standing.url))
        await ended.wait()

    async def test_slow(self, standing: StandingServer) -> None:
        """A body that does not come to its end is given up at the look's deadline."""
        never = asyncio.Event()

        async def drip(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"ETag": '"slow"'})
            await response.prepare(request)
            await response.write(ARCHIVE[:100])
            await never.wait()
            return response

        standing.answers = [drip]
        assert "no whole answer within 0.2 s" in await refusal(client(standing.url, timeout_s=0.2))

    async def test_mute(self, standing: StandingServer) -> None:
        """A server that takes the request and says nothing is given up likewise."""
        never = asyncio.Event()

        async def stay_mute(request: web.Request) -> web.StreamResponse:
            await never.wait()
            return web.Response()

        standing.answers = [stay_mute]
        assert "no whole answer within 0.2 s" in await refusal(client(standing.url, timeout_s=0.2))

    async def test_cut(self, standing: StandingServer) -> None:
        """What breaks off before its end was not had, so its tag is not named."""

        async def break_off(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(
                headers={"ETag": '"cut"', "Content-Length": str(len(ARCHIVE))}
            )
            await response.prepare(request)
            await response.write(ARCHIVE[:100])
            assert request.transport is not None
            request.transport.close()
            return response

        source = client(standing.url)
        standing.answers = [break_off]
        assert "broke off" in await refusal(source)
        standing.answers = [gives(ARCHIVE, '"cut"')]
        assert await source.look() == ARCHIVE
        assert all("If-None-Match" not in headers for headers in standing.asked)


def bearer(file: Path, token: str = TOKEN) -> Bearer:
    """Keep a token in a file."""
    file.write_text(token)
    file.chmod(0o600)
    return Bearer(secrets=ConfiguredSecrets({"bundles": f"file:{file}"}, {}), name="bundles")


class TestToken:
    async def test_sent(self, standing: StandingServer, tmp_path: Path) -> None:
        """The token goes with each request, and a new one in its file with the next."""
        source = client(standing.url, bearer=bearer(tmp_path / "token"))
        await source.look()
        (tmp_path / "token").write_text("an0ther-token\n")
        await source.look()
        sent = [headers["Authorization"] for headers in standing.asked]
        assert sent == [f"Bearer {TOKEN}", "Bearer an0ther-token"]

    async def test_wrong(self, standing: StandingServer, tmp_path: Path) -> None:
        """A server that does not take the token is said to want another."""

        async def check(request: web.Request) -> web.StreamResponse:
            is_right = request.headers.get("Authorization") == "Bearer another-one"
            return web.Response(status=200 if is_right else 401)

        standing.answers = [check]
        source = client(standing.url, bearer=bearer(tmp_path / "token"))
        assert "see that bundles.token is the one it wants" in await refusal(source)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("two words-of-token", "one word of visible ASCII"),
            (f"{TOKEN}\r\nX-Other: header", "one word of visible ASCII"),
            (f"{TOKEN}\N{SNOWMAN}", "one word of visible ASCII"),
            ("short", "shorter than"),
        ],
    )
    async def test_no_token(
        self, standing: StandingServer, tmp_path: Path, text: str, said: str
    ) -> None:
        """What cannot be a token is sent to nobody."""
        source = client(standing.url, bearer=bearer(tmp_path / "token", text))
        assert said in await refusal(source)
        assert standing.asked == []

    async def test_gone(self, standing: StandingServer, tmp_path: Path) -> None:
        """Without its token's file the broker asks nobody."""
        source = client(standing.url, bearer=bearer(tmp_path / "token"))
        (tmp_path / "token").unlink()
        assert "bundles.token: " in await refusal(source)
        assert standing.asked == []


class TestTls:
    AUTHORITY = DevelopmentAuthority(datetime.now(UTC))
    OTHER = DevelopmentAuthority(datetime.now(UTC))

    async def test_private_authority(self, tmp_path: Path) -> None:
        """A server under the authority that is named is believed."""
        pair = certify(tmp_path / "pair", self.AUTHORITY, "127.0.0.1")
        async with StandingServer(pair) as standing:
            standing.answers = [gives(ARCHIVE)]
            assert await client(standing.url, ca=pair / "ca.crt").look() == ARCHIVE

    @pytest.mark.parametrize(
        ("address", "trusted"),
        [("127.0.0.1", "other/ca.crt"), ("127.0.0.1", None), ("127.0.0.2", "pair/ca.crt")],
        ids=["another authority", "the system's authorities", "another name"],
    )
    async def test_not_believed(self, tmp_path: Path, address: str, trusted: str | None) -> None:
        """Under another authority, or another name, it gets no request, so no token either."""
        pair = certify(tmp_path / "pair", self.AUTHORITY, address)
        certify(tmp_path / "other", self.OTHER, "127.0.0.1")
        async with StandingServer(pair) as standing:
            standing.answers = [gives(ARCHIVE)]
            ca = tmp_path / trusted if trusted else None
            source = client(standing.url, ca=ca, bearer=bearer(tmp_path / "token"))
            assert "does not prove who it is" in await refusal(source)
            assert standing.asked == []

    def test_no_authority(self, tmp_path: Path) -> None:
        """A file that holds no authority stops the start, by its name."""
        (tmp_path / "ca.crt").write_text("nothing")
        with pytest.raises(ConfigurationError, match=r"ca\.crt: holds no certificate authority"):
            client("https://127.0.0.1/b", ca=tmp_path / "ca.crt")


class TestTag:
    @pytest.mark.parametrize("tag", [b"\x01", b"\x7f", b"\xff", b"\xed\xa0\x80", b"a\tb"])
    async def test_that_cannot_be_sent_back(self, tag: bytes) -> None:
        """A tag that no request can name is none; it does not end all looks that follow."""
        asked: list[bytes] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\nETag: " + tag
            writer.write(head + b"\r\n\r\nbundle")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            source = client(f"http://127.0.0.1:{port}/b.tar.gz")
            assert [await source.look(), await source.look()] == [b"bundle", b"bundle"]
            assert not any(b"If-None-Match" in request for request in asked)
