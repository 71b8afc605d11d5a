"""Name who keeps keys and secrets."""

from collections.abc import Sequence
from typing import Protocol

from broker.core.ids import Sha256
from broker.core.secret import Secret


class Signer(Protocol):
    """Sign with one key whose private part never leaves the adapter. Thread-safe."""

    @property
    def key_id(self) -> Sha256:
        """SHA-256 of the public key's SPKI DER."""

    @property
    def public_key_pem(self) -> str:
        """SPKI PEM of the public key."""

    def sign(self, message: bytes) -> bytes:
        """Sign a message (Ed25519 raw, or ECDSA P-256 with SHA-256 in DER).

        Blocking, bounded in time; nobody retries.

        Raises:
            TokenUnavailable: The device that holds the key does not sign now.
        """


class SecretProvider(Protocol):
    """Give the values of secrets. Safe from one event loop; blocking reads have their threads."""

    async def read(self, names: Sequence[str]) -> tuple[Secret, ...]:
        """Read the values that these secrets have now, in the order of the names.

        Bounded in time; nobody retries.

        Raises:
            SecretUnavailable: One is not configured, or cannot be read, or is no secret.
        """
