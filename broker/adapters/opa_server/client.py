"""Give opa-python-client the connections that it cannot make itself."""

import ssl
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from opa_client.opa_async import AsyncOpaClient

from broker.errors import PolicyUnavailable

_DEFAULT_PORT: Final = 8181


class OpaClient(AsyncOpaClient):  # type: ignore[misc]  # the library has no types
    """The library's asynchronous client, over a unix socket or with a private CA as well.

    It never retries: the library's own would repeat a rule conflict, which stays one.

    Args:
        url: `unix:///path`, `http://host:port` or `https://host:port`.
        ca_file: CA of an https server; without it the system's.

    Raises:
        PolicyUnavailable: The URL is none of these.
    """

    def __init__(self, url: str, *, ca_file: Path | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("unix", "http", "https"):
            raise PolicyUnavailable(f"an OPA server is named by unix:, http: or https:, not {url}")
        self._socket = parts.path if parts.scheme == "unix" else None
        self._ca_file = ca_file
        super().__init__(
            host=parts.hostname or "localhost",
            port=parts.port or _DEFAULT_PORT,
            ssl=parts.scheme == "https",
            retries=0,
        )

    async def _init_session(self) -> None:
        # The engine's own deadline covers connecting, asking and reading alike.
        self._session = aiohttp.ClientSession(
            connector=self._make_connector(), timeout=aiohttp.ClientTimeout(total=None)
        )

    def _make_connector(self) -> aiohttp.BaseConnector:
        if self._socket is not None:
            return aiohttp.UnixConnector(path=self._socket)
        if not self.ssl:
            return aiohttp.TCPConnector()
        context = ssl.create_default_context(cafile=str(self._ca_file) if self._ca_file else None)
        return aiohttp.TCPConnector(ssl=context)

    async def open(self) -> None:
        """Make the session; nothing is connected yet."""
        await self._init_session()

    async def ask(self, policy_input: object) -> dict[str, Any]:
        """Query the decision with its provenance; a failing built-in is an error."""
        answer: dict[str, Any] = await self.query_rule(
            input_data=policy_input,
            package_path="broker.decision",
            rule_name="result",
            query_params={"provenance": "true", "strict-builtin-errors": "true"},
        )
        return answer
