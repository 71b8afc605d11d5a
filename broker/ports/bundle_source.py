"""Name where new policy bundles come from."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from broker.core.ids import Sha256


class BundleSource(Protocol):
    """Offer the newest policy bundle. Safe from one event loop, one look at a time.

    It keeps nothing durable and judges nothing: what it gives may be broken, old or forged. It
    remembers in memory what it gave last, so that the same is not read again.
    """

    @property
    def name(self) -> str:
        """Say where it is, for people: a path or a URL, without any credential."""

    async def look(self) -> bytes | None:
        """Give the bytes that are there now; None: those that it gave last.

        It answers within a deadline of its own. Faults that may pass are retried within that
        deadline; whoever looks at intervals need not retry besides.

        Raises:
            BundleSourceUnavailable: There is nothing to be had now. What it gave last stays last.
        """

    async def close(self) -> None:
        """Let go of what it holds open. Idempotent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """A source's word that no other bundle than this one is there."""

    bundle_sha256: Sha256
    at: datetime


class ConfirmationKeeper(Protocol):
    """Remember the last confirmation through a restart. Safe from one event loop.

    Not durable on return: where the machine dies an older one may be there, or none, so that the
    policy counts as staler than it is.
    """

    async def read(self) -> Confirmation | None:
        """Give the last one; None where there is none, or none that can be read."""

    async def write(self, confirmation: Confirmation) -> None:
        """Keep this one in the place of the last. Nobody retries.

        Raises:
            OSError: It could not be written; the last one is still there.
        """
