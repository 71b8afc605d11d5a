"""Fetch bundles from an OPA bundle server."""

import asyncio
import re
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import tenacity

from broker.bounded_body import read_at_most
from broker.errors import BundleSourceUnavailable, ConfigurationError, SecretUnavailable
from broker.ports import SecretProvider

_ATTEMPTS: Final = 3
_FIRST_WAIT_S: Final = 0.5
_PIECE_BYTES: Final = 64 * 1024
# One with other characters could be sent back by no request: each look from then on would fail.
_ETAG: Final = re.compile(r"[ -~]{1,1024}")
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_NOT_LET_IN: Final = frozenset({401, 403})
_TOKEN: Final = re.compile(r"[!-~]+")


class _Passing(BundleSourceUnavailable):
    """A fault that may be over at the next attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """Where the token is that the server wants; it is read for each request.

    Args:
        name: What `secrets` knows it by.
    """

    secrets: SecretProvider
    name: str

    async def header(self) -> str:
        """Give the header's value.

        Raises:
            BundleSourceUnavailable: It cannot be read, or cannot stand in a header.
        """
        try:
            (secret,) = await self.secrets.read((self.name,))
        except SecretUnavailable as error:
            raise BundleSourceUnavailable(f"bundles.token: {error.description}") from error
        token = secret.value.decode("ascii", "replace")
        if _TOKEN.fullmatch(token) is None:
            raise BundleSourceUnavailable(
                "bundles.token: a token is one word of visible ASCII characters"
            )
        return f"Bearer {token}"


class BundleServer:
    """The `BundleSource` of one URL, read as OPA reads it: GET, `ETag`, `If-None-Match`, 304.

    It follows no redirect, since a token is meant for one server, and asks the environment for no
    proxy. Bytes are taken as they come, never inflated: a bundle is gzipped already.

    Args:
        url: `https://` or `http://`, with the bundle's whole path.
        bearer: None where the server wants no token.
        ca_file: Authorities of the server, PEM; None: the system's.
        timeout_s: Deadline of a look, attempts and waits between them included.
        most_bytes: Of a bundle; no more is read.
        first_wait_s: Bound of the wait before the second attempt; it doubles.

    Raises:
        ConfigurationError: `ca_file` cannot be read.

    Source: https://www.openpolicyagent.org/docs/management-bundles
    """

    def __init__(
        self,
        url: str,
        *,
        bearer: Bearer | None = None,
        ca_file: Path | None = None,
        timeout_s: float,
        most_bytes: int,
        first_wait_s: float = _FIRST_WAIT_S,
    ) -> None:
        self._url = url
        self._bearer = bearer
        self._tls = _trusting(ca_file)
        self._timeout_s = timeout_s
        self._most_bytes = most_bytes
        self._first_wait_s = first_wait_s
        self._etag = ""

    @property
    def name(self) -> str:
        """Give the URL without its query, where some stores have a signature."""
        return urlsplit(self._url)._replace(query="").geturl()

    async def look(self) -> bytes | None:
        """Fetch the bundle, unless it is the one before.

        Raises:
            BundleSourceUnavailable: The server does not give one in full and in time.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await self._try()
        except TimeoutError as error:
            raise BundleSourceUnavailable(
                f"{self.name} gave no whole answer within {self._timeout_s:g} s"
            ) from error
        if found is None:
            return None
        # Only now: what broke off, or was given up as it was hung up on, must not count as had.
        self._etag, archive = found
        return archive

    async def close(self) -> None:
        """Do nothing: no connection outlives its look."""

    async def _try(self) -> tuple[str, bytes] | None:
        async for attempt in tenacity.AsyncRetrying(
            stop=tenacity.stop_any(
                tenacity.stop_after_attempt(_ATTEMPTS),
                # The fault is worth more to its reader than that time ran out after it.
                tenacity.stop_before_delay(self._timeout_s),
            ),
            wait=tenacity.wait_random_exponential(multiplier=self._first_wait_s),
            retry=tenacity.retry_if_exception_type(_Passing),
            reraise=True,
        ):
            with attempt:
                return await self._ask()
        raise AssertionError("tenacity neither answers nor raises")

    async def _ask(self) -> tuple[str, bytes] | None:
        headers = await self._headers()
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(ssl=self._tls),
                    # The deadline of the look covers connecting, waiting and reading alike.
                    timeout=aiohttp.ClientTimeout(total=None),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                ) as session,
                session.get(self._url, headers=headers, allow_redirects=False) as answer,
            ):
                return await self._read(answer)
        except aiohttp.ClientSSLError as error:
            raise BundleSourceUnavailable(
                f"{self.name} does not prove who it is: see bundles.ca_file, the name and the "
                "dates of its certificate"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            said = getattr(error, "strerror", None) or type(error).__name__
            raise _Passing(f"{self.name} cannot be reached or broke off ({said})") from error

    async def _headers(self) -> dict[str, str]:
        headers = {
            "Accept-Encoding": "identity",
            # Whole bundles alone: a patch has no digest of what it makes.
            "Prefer": "modes=snapshot",
        }
        if self._etag:
            headers["If-None-Match"] = self._etag
        if self._bearer is not None:
            headers["Authorization"] = await self._bearer.header()
        return headers

    async def _read(self, answer: aiohttp.ClientResponse) -> tuple[str, bytes] | None:
        if answer.status == HTTPStatus.NOT_MODIFIED and self._etag:
            return None
        if answer.status != HTTPStatus.OK:
            raise self._refused(answer.status)
        archive = await self._body(answer)
        etag = answer.headers.get("ETag", "")
        return (etag if _ETAG.fullmatch(etag) else ""), archive

    async def _body(self, answer: aiohttp.ClientResponse) -> bytes:
        if (answer.content_length or 0) <= self._most_bytes:
            pieces = answer.content.iter_chunked(_PIECE_BYTES)
            if (body := await read_at_most(self._most_bytes, pieces)) is not None:
                return body
        raise BundleSourceUnavailable(
            f"{self.name} gives more than {self._most_bytes} bytes: take data out of the bundle"
        )

    def _refused(self, status: int) -> BundleSourceUnavailable:
        said = f"{self.name} answers {status}"
        if status in _PASSING:
            return _Passing(said)
        if status in _NOT_LET_IN:
            return BundleSourceUnavailable(f"{said}: see that bundles.token is the one it wants")
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            return BundleSourceUnavailable(
                f"{said}, a redirect or nothing, and none is followed: name the place itself in "
                "bundles.url"
            )
        return BundleSourceUnavailable(f"{said}: see that bundles.url names a bundle")


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            str(ca_file), None, f"holds no certificate authority in PEM ({error.strerror})"
        ) from error
