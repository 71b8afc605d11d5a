"""Name where time and chance come from."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Tell the time. Thread-safe."""

    def now(self) -> datetime:
        """Give the broker's time, aware UTC; it never goes back within one life of the broker."""

    @property
    def is_trusted(self) -> bool:
        """Tell whether the machine's time is believed.

        Where it is not, nothing is approved, begun or expired until it is again (contract §5).
        """

    def go_on_at(self, at: datetime) -> None:
        """Go on from this time, whatever the machine's clock says; trusted until that jumps."""

    def machine_time(self) -> datetime:
        """Give what the machine's clock says, believed or not."""

    def monotonic_s(self) -> float:
        """Give seconds from an arbitrary start, unaffected by the wall clock."""

    async def sleep_until(self, at: datetime) -> None:
        """Return when `now()` has reached `at`."""


class Entropy(Protocol):
    """Give unpredictable bytes. Thread-safe."""

    def random_bytes(self, size: int) -> bytes:
        """Draw `size` bytes from a cryptographic source."""
