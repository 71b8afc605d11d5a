"""A tool in front of its sockets, without the container."""

import asyncio
import ssl
from pathlib import Path

from broker.core.egress import EgressReport, Visit
from broker.ports import Outlet

HTTP = "http.sock"


class Tool:
    """Speaks through one outlet."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    @property
    def folder(self) -> Path:
        """What the container gets as /egress."""
        return self._outlet.folder

    async def connect(self, name: str = HTTP) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a socket."""
        return await asyncio.open_unix_connection(self.folder / name)

    async def say(self, text: bytes, name: str = HTTP) -> bytes:
        """Send bytes; give what comes back until the other side ends."""
        reader, writer = await self.connect(name)
        writer.write(text)
        try:
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async def get(self, place: str, path: str = "/", *, host: str = "") -> bytes:
        """Ask for a page by plain HTTP."""
        return await self.say(
            f"GET http://{place}{path} HTTP/1.1\r\nHost: {host or place}\r\n\r\n".encode()
        )

    async def tunnel(self, place: str) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
        """CONNECT to a place; give the first line of the answer with the open connection."""
        reader, writer = await self.connect()
        writer.write(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        return head.partition(b"\r\n")[0], reader, writer

    async def over_tunnel(self, place: str, text: bytes) -> bytes:
        """CONNECT, then send these bytes; give what comes back."""
        answer, reader, writer = await self.tunnel(place)
        assert b" 200 " in answer, answer
        writer.write(text)
        try:
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async def get_tls(self, place: str, context: ssl.SSLContext, *, sni: str | None) -> bytes:
        """Ask for a page by HTTPS, naming this server."""
        answer, reader, writer = await self.tunnel(place)
        assert b" 200 " in answer, answer
        try:
            await writer.start_tls(context, server_hostname=sni or "")
            writer.write(f"GET / HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n".encode())
            return await reader.read()
        finally:
            writer.close()

    async def report(self) -> EgressReport:
        """Close the outlet; give what went through."""
        return await self._outlet.close()

    async def visits(self) -> list[tuple[str, str, str]]:
        """Close the outlet; give host, verdict and reason of each connection."""
        return [_short(visit) for visit in (await self.report()).visits]


def _short(visit: Visit) -> tuple[str, str, str]:
    return visit.host, visit.verdict.value, visit.reason.value if visit.reason else ""
