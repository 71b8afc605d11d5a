"""Judge how long the active policy has gone unconfirmed by where it comes from."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum


class Freshness(Enum):
    """How far the active policy may be relied on."""

    FRESH = "fresh"
    """Its source said lately that nothing newer is there."""
    STALE = "stale"
    """It has not for long: somebody should look, calls are decided as before."""
    REFUSING = "refusing"
    """It has not for so long that no call is decided any more: each is denied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshnessRule:
    """How long a policy may go unconfirmed.

    Args:
        stale_after: From then on it is stale.
        refuse_after: From then on nothing is decided by it; None: it never comes to that.
    """

    stale_after: timedelta
    refuse_after: timedelta | None = None

    def __post_init__(self) -> None:
        if self.stale_after <= timedelta(0):
            raise ValueError("a policy is stale after some time, not before any")
        if self.refuse_after is not None and self.refuse_after < self.stale_after:
            raise ValueError("a policy is stale before calls are refused for it, or then at once")

    def judge(self, confirmed_at: datetime | None, now: datetime) -> Freshness:
        """Judge a policy that was last confirmed then; None: nobody knows when.

        A time that is still to come was not written by this clock, so it tells nothing: what is
        not known to be fresh is as stale as can be.
        """
        if confirmed_at is None or confirmed_at > now:
            return Freshness.STALE if self.refuse_after is None else Freshness.REFUSING
        unconfirmed_for = now - confirmed_at
        if self.refuse_after is not None and unconfirmed_for >= self.refuse_after:
            return Freshness.REFUSING
        return Freshness.STALE if unconfirmed_for >= self.stale_after else Freshness.FRESH
