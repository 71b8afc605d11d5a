"""Read a log's files from a web server."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from ssl import create_default_context
from threading import Event, Timer
from urllib.parse import urlsplit

from broker.core.address import is_closed_way
from broker.core.signed_note import MAX_NOTE_BYTES
from broker.core.tiles import Tile, max_bytes
from broker.verify.log_folder import CHECKPOINT, LogFolder

_WITHIN_S = 20.0
_PORTS = {"https": 443, "http": 80}
_OK = 200
_NOT_FOUND = 404


class LogSite(LogFolder):
    """A log's files below a URL: of any server of static files, believed by nobody.

    Args:
        url: The log's prefix, `https://`, or `http://` on this machine.
        within_s: How long one file may take once there is a connection.

    Raises:
        ValueError: It is none such.
    """

    def __init__(self, url: str, *, within_s: float = _WITHIN_S) -> None:
        parts = urlsplit(url)
        if not is_closed_way(parts.scheme, parts.hostname) or not parts.hostname:
            raise ValueError("give https://..., or http:// on this machine")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("give https://HOST/PATH, with neither a name nor a query in it")
        self._url = url.rstrip("/")
        self._path = parts.path.rstrip("/")
        self._host = parts.hostname
        self._port = parts.port or _PORTS[parts.scheme]
        self._tls = create_default_context() if parts.scheme == "https" else None
        self._within_s = within_s

    def checkpoint(self) -> bytes:
        """Read the signed head.

        Raises:
            OSError: It cannot be read.
        """
        found = self._get(CHECKPOINT, MAX_NOTE_BYTES)
        if found is None:
            raise FileNotFoundError(
                _NOT_FOUND, "there is no such page", f"{self._url}/{CHECKPOINT}"
            )
        return found

    def _file(self, tile: Tile) -> bytes | None:
        return self._get(tile.path, max_bytes(tile))

    def _get(self, path: str, most_bytes: int) -> bytes | None:
        """Read a file, one byte more than it may have at the most; None where there is none.

        No proxy is used, and no redirect followed: it stands as the error that it is then.

        Raises:
            OSError: The server cannot be reached, answers otherwise, or takes too long.
        """
        where, is_late = f"{self._url}/{path}", Event()
        try:
            with self._connected(is_late) as connection:
                connection.request("GET", f"{self._path}/{path}", headers={"Connection": "close"})
                answer = connection.getresponse()
                state, data = answer.status, answer.read(most_bytes + 1)
        except (HTTPException, OSError, ValueError) as error:
            if not is_late.is_set():
                raise OSError(0, f"cannot be read: {error}", where) from error
        # What came until then may look whole.
        if is_late.is_set():
            raise OSError(0, f"took more than {self._within_s:g} s", where)
        if state == _NOT_FOUND:
            return None
        if state != _OK:
            raise OSError(state, f"the server said {state}", where)
        return data

    @contextmanager
    def _connected(self, is_late: Event) -> Iterator[HTTPConnection]:
        """Connect to the server; a connection that lasts too long is ended from this side.

        A time limit for each wait would not do: who sends a byte now and then is never waited for.

        Args:
            is_late: Is set when that has happened.
        """
        address = (self._host, self._port)
        line = socket.create_connection(address, timeout=self._within_s)
        # Another descriptor of the same connection, which stays when TLS takes over the first.
        with line, line.dup() as end:

            def leave() -> None:
                is_late.set()
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

            timer = Timer(self._within_s, leave)
            timer.daemon = True
            timer.start()
            try:
                with closing(HTTPConnection(*address)) as connection:
                    connection.sock = (
                        self._tls.wrap_socket(line, server_hostname=self._host)
                        if self._tls
                        else line
                    )
                    yield connection
            finally:
                timer.cancel()
