"""An OPA bundle server on loopback whose every answer the test sets."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self

from aiohttp import web
from multidict import CIMultiDict

from broker.adapters.pki import DevelopmentAuthority

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class StandingServer:
    """A real server; use it in `async with`.

    Args:
        pair: Folder with `server.crt` and `server.key`, where it speaks TLS.
        port: 0: any that is free.

    `answers` are given one after the other, the last one from then on.
    """

    def __init__(self, pair: Path | None = None, port: int = 0) -> None:
        self.asked: list[CIMultiDict[str]] = []
        self.answers: list[Answer] = []
        self._looked = asyncio.Event()
        self._pair = pair
        self._port = port
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    @property
    def url(self) -> str:
        """Where its bundle is."""
        scheme = "https" if self._pair else "http"
        return f"{scheme}://127.0.0.1:{self._runner.addresses[0][1]}/bundles/broker.tar.gz"

    async def looked(self) -> None:
        """Return when somebody has asked once more."""
        self._looked.clear()
        await self._looked.wait()

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=_tls(self._pair))
        await site.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(CIMultiDict(request.headers))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self._looked.set()
        return await answer(request)


def gives(archive: bytes, etag: str = "", **headers: str) -> Answer:
    """Answer with a bundle, or with 304 to who has that one."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if etag and request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        tagged = {"ETag": etag} if etag else {}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(body=archive, headers=tagged | named)

    return answer


def says(status: int, **headers: str) -> Answer:
    """Answer with a status."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers=headers)

    return answer


def certify(folder: Path, authority: DevelopmentAuthority, *addresses: str) -> Path:
    """Write the pair of a server with these addresses, and its authority as `ca.crt`."""
    folder.mkdir()
    pair = authority.issue_server("bundles", "spiffe://test/bundles", (), addresses)
    (folder / "server.crt").write_bytes(pair.certificate_pem)
    (folder / "server.key").write_bytes(pair.private_key_pem)
    (folder / "ca.crt").write_bytes(authority.certificate_pem)
    return folder


def _tls(pair: Path | None) -> ssl.SSLContext | None:
    if pair is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair / "server.crt", pair / "server.key")
    return context
