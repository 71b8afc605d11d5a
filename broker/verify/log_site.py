"""Read a log's files from a web server."""

from http.client import HTTPException, HTTPMessage
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from broker.core.address import is_this_machine
from broker.core.signed_note import MAX_NOTE_BYTES
from broker.core.tiles import Tile, max_bytes
from broker.verify.log_folder import CHECKPOINT, LogFolder

_TIMEOUT_S = 20.0
_NOT_FOUND = 404


class _NoRedirect(HTTPRedirectHandler):
    """Go nowhere but where the reader said."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Follow none: the answer stands as the error that it is then."""


class LogSite(LogFolder):
    """A log's files below a URL: of any server of static files, believed by nobody.

    Args:
        url: The log's prefix, `https://`, or `http://` on this machine.

    Raises:
        ValueError: It is none such.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (
            parts.scheme == "http" and is_this_machine(parts.hostname)
        ):
            raise ValueError("give https://..., or http:// on this machine")
        self._url = url.rstrip("/")
        self._opener = build_opener(_NoRedirect, ProxyHandler({}))

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

        Raises:
            OSError: The server cannot be reached, or answers otherwise.
        """
        where = f"{self._url}/{path}"
        try:
            with self._opener.open(where, timeout=_TIMEOUT_S) as answer:
                data: bytes = answer.read(most_bytes + 1)
                return data
        except HTTPError as error:
            with error:
                if error.code == _NOT_FOUND:
                    return None
                raise OSError(error.code, f"the server said {error.code}", where) from error
        except (HTTPException, OSError) as error:
            cause = error.reason if isinstance(error, URLError) else error
            raise OSError(0, f"cannot be read: {cause}", where) from error
