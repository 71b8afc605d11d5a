"""Ask an OPA server for decisions."""

import asyncio
from typing import Any, Final, Self

import aiohttp
import tenacity

from broker.adapters.opa_server.child import OpaChild
from broker.adapters.opa_server.client import OpaClient
from broker.adapters.opa_server.credentials import Credentials
from broker.core.bundle import Bundle
from broker.core.canary import CANARY, check_canary
from broker.core.ids import Sha256
from broker.errors import (
    PolicyError,
    PolicyInvalid,
    PolicyStale,
    PolicyTimeout,
    PolicyUnavailable,
    PolicyUndefined,
)
from broker.ports import PolicyAnswer

_ATTEMPTS: Final = 3
_FIRST_WAIT_S: Final = 0.01
_UNAVAILABLE_STATUS: Final = frozenset({401, 403, 404, 429, 502, 503, 504})
_REDIRECT_STATUS: Final = range(300, 400)


class OpaServerEngine:
    """Policy on an OPA server, an external one or a child; implements `PolicyEngine`.

    Only connection errors are retried, within the deadline: evaluating twice changes nothing, and
    what the server answered once it would answer again.

    Args:
        client: Opened.
        bundle: What the server must have active; the revision of every answer is compared.
        timeout_s: Deadline of one evaluation with its retries, in seconds.
        child: Ended by `close`.
    """

    name: Final = "opa"

    def __init__(
        self, client: OpaClient, bundle: Bundle, *, timeout_s: float, child: OpaChild | None = None
    ) -> None:
        self._client = client
        self._bundle = bundle
        self._timeout_s = timeout_s
        self._child = child
        self._closed = False

    @classmethod
    async def connect(
        cls,
        url: str,
        bundle: Bundle,
        *,
        timeout_s: float = 1.0,
        credentials: Credentials | None = None,
    ) -> Self:
        """Use an external server that has this bundle.

        Args:
            url: `unix:///path`, `http://host:port` or `https://host:port`.

        Raises:
            PolicyError: It cannot be reached, is not the one that it should be, has another bundle,
                or fails the canary.
        """
        client = OpaClient(url, credentials)
        await client.open()
        engine = cls(client, bundle, timeout_s=timeout_s)
        await engine.check()
        return engine

    @classmethod
    async def spawn(cls, opa: str, bundle: Bundle, *, timeout_s: float = 1.0) -> Self:
        """Start a server as a child of this process.

        Args:
            opa: The program, by path or by name.

        Raises:
            PolicyError: It does not start, or fails the canary.
        """
        child = await OpaChild.start(opa, bundle)
        client = OpaClient(child.url)
        await client.open()
        engine = cls(client, bundle, timeout_s=timeout_s, child=child)
        await engine.check()
        return engine

    async def check(self) -> None:
        """Try the server with a call whose answer is known; close where it is wrong.

        Raises:
            PolicyError: It gives no answer, or the wrong one.
        """
        try:
            check_canary((await self.evaluate(CANARY)).output)
        except BaseException:
            await self.close()
            raise

    @property
    def bundle_sha256(self) -> Sha256:
        """Digest of the bundle."""
        return self._bundle.sha256

    @property
    def bundle_revision(self) -> str:
        """Revision of the bundle."""
        return self._bundle.revision

    async def evaluate(self, policy_input: bytes) -> PolicyAnswer:
        """Ask policy about one input; see `PolicyEngine`."""
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._ask(policy_input)
        except TimeoutError as error:
            raise PolicyTimeout("the OPA server did not answer in time") from error
        except aiohttp.ClientResponseError as error:
            raise _refused(error) from error
        except aiohttp.ClientSSLError as error:
            raise PolicyUnavailable(
                f"the OPA server is not trusted: {error}; it must show a certificate for the host "
                "of policy.opa_url, signed by policy.opa_ca_file"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise PolicyUnavailable(f"the OPA server cannot be reached: {error}") from error
        except PolicyError:
            raise
        except Exception as error:
            # The adapter's edge: a garbled answer, or a closed session, must become a denial.
            if self._closed:
                raise PolicyUnavailable("the policy engine is closed") from error
            raise PolicyInvalid("the OPA server's answer cannot be read") from error
        return self._read(answer)

    async def close(self) -> None:
        """Close the connections, then end the child."""
        self._closed = True
        await self._client.close_connection()
        if self._child is not None:
            await self._child.stop()

    async def _ask(self, policy_input: bytes) -> object:
        if self._closed:
            raise PolicyUnavailable("the policy engine is closed")
        async for attempt in tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            wait=tenacity.wait_exponential(multiplier=_FIRST_WAIT_S),
            retry=tenacity.retry_if_exception(_may_pass),
            reraise=True,
        ):
            with attempt:
                return await self._client.ask(policy_input)
        raise AssertionError("tenacity neither answers nor raises")

    def _read(self, answer: object) -> PolicyAnswer:
        if not isinstance(answer, dict):
            raise PolicyInvalid("the OPA server's answer is not an object")
        # Before the result: an old bundle's answer, or its silence, says nothing of ours.
        if self._bundle.revision not in (revisions := _revisions(answer)):
            raise PolicyStale(
                f"the OPA server decides by revision {', '.join(sorted(revisions)) or 'none'}, "
                f"not by {self._bundle.revision}: give it the active bundle"
            )
        if "result" not in answer:
            raise PolicyUndefined("policy has no value for this call")
        if not isinstance(answer["result"], dict):
            raise PolicyInvalid("policy's answer is not an object")
        return PolicyAnswer(
            output=answer["result"],
            bundle_sha256=self._bundle.sha256,
            bundle_revision=self._bundle.revision,
        )


def _may_pass(error: BaseException) -> bool:
    """Tell a connection that broke, which another may not, from one that is not trusted."""
    return isinstance(error, aiohttp.ClientConnectionError) and not isinstance(
        error, aiohttp.ClientSSLError
    )


def _refused(error: aiohttp.ClientResponseError) -> PolicyError:
    if error.status in _REDIRECT_STATUS:
        return PolicyUnavailable(
            f"the OPA server sends elsewhere ({error.status}): name the place in policy.opa_url"
        )
    if error.status in _UNAVAILABLE_STATUS:
        return PolicyUnavailable(f"the OPA server refuses: {error.status} {error.message}")
    return PolicyInvalid(f"policy failed on the OPA server: {error.status} {error.message}")


def _revisions(answer: dict[str, Any]) -> set[str]:
    provenance = answer.get("provenance")
    bundles = provenance.get("bundles") if isinstance(provenance, dict) else None
    found = bundles.values() if isinstance(bundles, dict) else ()
    return {str(entry.get("revision")) for entry in found if isinstance(entry, dict)}
