"""Name what evaluates policy."""

from dataclasses import dataclass
from typing import Protocol

from broker.core.canonical import JsonObject
from broker.core.ids import Sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyAnswer:
    """What an engine answered, unchecked."""

    output: JsonObject
    bundle_sha256: Sha256
    bundle_revision: str


class PolicyEngine(Protocol):
    """Evaluate the entry point `data.broker.decision.result`. Safe from one event loop."""

    @property
    def name(self) -> str:
        """`wasm` or `opa`."""

    @property
    def bundle_sha256(self) -> Sha256:
        """Digest of the active bundle."""

    @property
    def bundle_revision(self) -> str:
        """Revision of the active bundle, from its manifest."""

    async def evaluate(self, policy_input: bytes) -> PolicyAnswer:
        """Ask policy about one input, within the engine's own deadline; no retries needed.

        Args:
            policy_input: One canonical JSON document.

        Raises:
            PolicyError: No usable answer; the subclass says why. Never another exception.
        """

    async def close(self) -> None:
        """Stop the engine; evaluations under way end in PolicyUnavailable."""
