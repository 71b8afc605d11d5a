"""Give opa-python-client the connections that it cannot make itself."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlencode, urlsplit

import aiohttp
from opa_client.opa_async import AsyncOpaClient

from broker.adapters.opa_server.credentials import Credentials
from broker.bounded_body import read_at_most
from broker.errors import PolicyInvalid, PolicyUnavailable

_DEFAULT_PORT: Final = 8181
_OK: Final = 200
# A failing built-in is an error; the provenance names the revision of this very decision.
_ASKED: Final = {"provenance": "true", "strict-builtin-errors": "true"}
MOST_ANSWER_BYTES: Final = 4 * 2**20
"""Largest answer that is read: the broker's own have some kilobytes."""


class OpaClient(AsyncOpaClient):  # type: ignore[misc]  # the library has no types
    """The library's asynchronous client, over a unix socket or with a private CA as well.

    It never retries: the library's own would repeat a rule conflict, which stays one. It goes
    where the URL says: by no proxy of the environment, after no redirect.

    Args:
        url: `unix:///path`, `http://host:port` or `https://host:port`.

    Raises:
        PolicyUnavailable: The URL is none of these.
    """

    def __init__(self, url: str, credentials: Credentials | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("unix", "http", "https"):
            raise PolicyUnavailable(f"an OPA server is named by unix:, http: or https:, not {url}")
        self._socket = parts.path if parts.scheme == "unix" else None
        self._credentials = credentials or Credentials()
        super().__init__(
            host=_bracketed(parts.hostname or "localhost"),
            port=parts.port or _DEFAULT_PORT,
            ssl=parts.scheme == "https",
            retries=0,
        )
        self._decision = f"{self.root_url}/data/broker/decision/result?{urlencode(_ASKED)}"

    async def _init_session(self) -> None:
        # The engine's own deadline covers connecting, asking and reading alike.
        self._session = aiohttp.ClientSession(
            connector=self._make_connector(),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    def _make_connector(self) -> aiohttp.BaseConnector:
        if self._socket is not None:
            return aiohttp.UnixConnector(path=self._socket)
        if not self.ssl:
            return aiohttp.TCPConnector()
        return aiohttp.TCPConnector(ssl=self._credentials.tls())

    @asynccontextmanager
    async def _request(
        self, method: str, url: str, *, data: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {**self._credentials.headers(), "Content-Type": "application/json"}
        # Elsewhere nobody has shown that the answer is the server's.
        request = super()._request(method, url, data=data, headers=headers, allow_redirects=False)
        async with request as response:
            yield response

    async def open(self) -> None:
        """Make the session; nothing is connected yet.

        Raises:
            PolicyUnavailable: A file of the credentials cannot be used.
        """
        await self._init_session()

    async def ask(self, policy_input: bytes) -> object:
        """Query the decision with its provenance.

        Args:
            policy_input: JSON; it goes out as it is.

        Raises:
            aiohttp.ClientError: No connection, or another answer than 200.
            PolicyInvalid: The answer is too large.
            ValueError: It is not JSON.
        """
        body = b'{"input":%b}' % policy_input
        async with self._request("POST", self._decision, data=body) as response:
            if response.status != _OK:
                raise aiohttp.ClientResponseError(
                    response.request_info,
                    response.history,
                    status=response.status,
                    message=response.reason or "",
                )
            return json.loads(await _read(response))


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = await read_at_most(MOST_ANSWER_BYTES, response.content.iter_any())
    if body is None:
        raise PolicyInvalid(f"the OPA server's answer has more than {MOST_ANSWER_BYTES} bytes")
    return body


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
