"""Places on this machine's loopback that tools reach, or must not; names that lead there."""

import asyncio
import ipaddress
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from broker.core.address import Address

LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
SITE, OTHER = "site.test", "other.test"
HERE = "localhost"
"""What the machine itself resolves to its loopback."""
IDN = "xn--bcher-kva.test"


class Names:
    """A resolver whose answers a test chooses; remembers what it was asked."""

    def __init__(self, table: Mapping[str, Sequence[str]] | None = None) -> None:
        self.table = dict(table or {})
        self.asked: list[str] = []
        self.heard = asyncio.Event()

    async def addresses(self, host: str) -> Sequence[Address]:
        """Give the chosen addresses; every other name is this machine."""
        await asyncio.sleep(0)
        self.asked.append(host)
        self.heard.set()
        return [ipaddress.ip_address(text) for text in self.table.get(host, ("127.0.0.1",))]


class _Answers(BaseHTTPRequestHandler):
    """Says what it was asked; `/to/URL` redirects there, `/big/N` gives N bytes, `/slow` waits."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer."""
        size = int(self.headers.get("content-length", 0))
        body = self.rfile.read(size)
        if self.path.startswith("/to/"):
            self._say(302, b"", location=self.path.removeprefix("/to/"))
        elif self.path == "/bytes":
            self._say(200, b"\xff\x00")
        elif self.path == "/slow":
            self.server.heard.set()  # type: ignore[attr-defined]
            self.server.over.wait()  # type: ignore[attr-defined]
            self._say(200, b"at last")
        elif self.path.startswith("/big/"):
            self._say(200, b"x" * int(self.path.removeprefix("/big/")))
        else:
            host = self.headers["host"].encode()
            self._say(200, b" ".join([self.command.encode(), self.path.encode(), host, body]))

    do_POST = do_HEAD = do_GET  # noqa: N815 (the standard library's names)

    def _say(self, code: int, body: bytes, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (as the parent)
        """Say nothing."""


class Places:
    """An HTTP and an HTTPS server, and one that echoes bytes; use it in `with`.

    Args:
        folder: Where certificate and key are put.
    """

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self.heard, self.over = threading.Event(), threading.Event()
        self._stack.callback(self.over.set)
        self.ca, chain = certificates(folder)
        self.http = self._serve(None)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        self.https = self._serve(context)
        self.echo = self._echo()

    def _serve(self, tls: ssl.SSLContext | None) -> int:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
        server.daemon_threads = True
        server.heard, server.over = self.heard, self.over  # type: ignore[attr-defined]
        # A client that is cut off breaks off; that is no fault of the server.
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self._stack.callback(server.server_close)
        self._stack.callback(server.shutdown)
        return int(server.server_address[1])

    def _echo(self) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        self._stack.callback(server.close)

        def echo(peer: socket.socket) -> None:
            with peer, suppress(ConnectionError):
                while data := peer.recv(1 << 16):
                    peer.sendall(data)

        def accept() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=echo, args=(peer,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return int(server.getsockname()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def certificates(folder: Path) -> tuple[bytes, Path]:
    """Give a CA with a file that holds the servers' chain and key."""
    now = datetime.now(UTC)
    key, ca_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "places of a test")])

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        made = x509.CertificateBuilder(issuer_name=issuer, subject_name=subject)
        made = made.public_key(public).serial_number(x509.random_serial_number())
        return made.not_valid_before(now - timedelta(days=1)).not_valid_after(
            now + timedelta(days=1)
        )

    authority = (
        builder(issuer, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    hosts = x509.SubjectAlternativeName([x509.DNSName(name) for name in (SITE, OTHER, HERE, IDN)])
    server = (
        builder(x509.Name([]), key.public_key())
        .add_extension(hosts, critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    chain = folder / "chain.pem"
    chain.write_bytes(
        server.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return authority.public_bytes(pem), chain
