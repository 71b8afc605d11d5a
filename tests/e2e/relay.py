"""Stand between a broker and its OPA server, and spoil what the server answers."""

import http.client
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Spoil = Callable[[dict[str, Any]], bytes]


def answered(status: int, document: object) -> bytes:
    """Write a whole HTTP answer."""
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 {status} Word\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Relay:
    """A server on a unix socket that passes each request to a real OPA server; use it in `with`.

    Args:
        path: The socket.
        port: Where the server listens on loopback.
    """

    def __init__(self, path: Path, port: int) -> None:
        self._spoil: Spoil | None = None
        relay = self

        class Passing(BaseHTTPRequestHandler):
            """One connection with one request."""

            def do_POST(self) -> None:
                """Ask the real server; write what comes of its answer."""
                asked = self.rfile.read(int(self.headers["Content-Length"]))
                upstream = http.client.HTTPConnection("127.0.0.1", port)
                upstream.request("POST", self.path, asked, {"Content-Type": "application/json"})
                answer = json.loads(upstream.getresponse().read())
                upstream.close()
                spoil = relay._spoil
                self.wfile.write(spoil(answer) if spoil else answered(200, answer))

            def address_string(self) -> str:
                """Name the peer: a unix socket's has no address."""
                return "broker"

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        self._server = socketserver.ThreadingUnixStreamServer(str(path), Passing)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @contextmanager
    def spoiling(self, spoil: Spoil) -> Iterator[None]:
        """Spoil every answer for a while."""
        self._spoil = spoil
        try:
            yield
        finally:
            self._spoil = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
