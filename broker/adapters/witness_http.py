"""Reach witnesses of the log over HTTP."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import aiohttp
import tenacity

from broker.bounded_body import read_at_most
from broker.core.witness import MAX_ANSWER_BYTES, Answer
from broker.errors import WitnessError

_TIMEOUT_S: Final = 5.0
_ATTEMPTS: Final = 2
_PATH: Final = "/add-checkpoint"
_TLS: Final = "https://"


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessAddress:
    """Where a witness answers.

    Args:
        url: Its submission prefix, `https://...`, or `http://` on this machine.
        ca_file: PEM of authorities in the place of the system's; None for those.
    """

    url: str
    ca_file: Path | None = None


class HttpWitnesses:
    """A `WitnessGateway`; made by `open`.

    No redirect is followed and no proxy of the environment is used: where the question goes is what
    the configuration says, nothing else.
    """

    def __init__(
        self,
        addresses: Mapping[str, WitnessAddress],
        session: aiohttp.ClientSession,
        contexts: Mapping[str, ssl.SSLContext],
        timeout_s: float,
    ) -> None:
        self._addresses = addresses
        self._session = session
        self._contexts = contexts
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        # A kept connection that the witness has closed meanwhile shows only when it is used; a
        # second question about the same head changes nothing there.
        self._retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            retry=tenacity.retry_if_exception_type(aiohttp.ServerDisconnectedError),
            reraise=True,
        )

    @classmethod
    async def open(
        cls, addresses: Mapping[str, WitnessAddress], *, timeout_s: float = _TIMEOUT_S
    ) -> Self:
        """Make the session; nothing is connected yet.

        Args:
            addresses: By the names of the configuration.
            timeout_s: For one question with its answer.

        Raises:
            OSError: A file of authorities cannot be read, or holds none.
        """
        contexts = {
            name: ssl.create_default_context(cafile=str(each.ca_file) if each.ca_file else None)
            for name, each in addresses.items()
            if each.url.lower().startswith(_TLS)
        }
        # Nothing is unpacked: the bound is on what comes, and a witness has no reason to pack.
        session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
        )
        return cls(addresses, session, contexts, timeout_s)

    async def close(self) -> None:
        """End all connections."""
        await self._session.close()

    async def add_checkpoint(self, witness: str, body: bytes) -> Answer:
        """Post to a witness's `add-checkpoint`."""
        try:
            return await self._retrying(self._post, witness, body)
        except TimeoutError as error:
            said = "did not answer in time: it is asked again"
            raise WitnessError(witness, said, reason="WITNESS_UNREACHABLE") from error
        except (aiohttp.ClientError, OSError) as error:
            said = f"cannot be reached ({type(error).__name__}): it is asked again"
            raise WitnessError(witness, said, reason="WITNESS_UNREACHABLE") from error

    async def _post(self, witness: str, body: bytes) -> Answer:
        address = self._addresses[witness]
        async with self._session.post(
            address.url.rstrip("/") + _PATH,
            data=body,
            headers={"Content-Type": "text/plain; charset=utf-8"},
            ssl=self._contexts.get(witness, True),
            timeout=self._timeout,
            allow_redirects=False,
        ) as response:
            answered = await read_at_most(MAX_ANSWER_BYTES, response.content.iter_any())
            if answered is None:
                raise WitnessError(witness, f"answers with more than {MAX_ANSWER_BYTES} bytes")
            return Answer(
                code=response.status,
                content_type=response.headers.get("Content-Type", ""),
                body=answered,
            )
