"""Keep in mind whether the active policy is confirmed by where it comes from."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from broker.core.freshness import Freshness, FreshnessRule
from broker.core.instant import rfc3339
from broker.errors import PolicyUnconfirmed, StoreUnavailable
from broker.ports import (
    Clock,
    Confirmation,
    ConfirmationKeeper,
    EventDraft,
    PolicyEngine,
    Store,
    Telemetry,
)

_EVERY = timedelta(seconds=1)
_EVENTS = {
    Freshness.FRESH: "policy.confirmed",
    Freshness.STALE: "policy.stale",
    Freshness.REFUSING: "policy.refusing",
}

Announce = Callable[[bool], Awaitable[None]]
"""Say whether calls are decided."""


class PolicyFreshness:
    """Judge the active bundle by when its source last confirmed it; one event loop.

    It is judged anew whenever somebody asks, by the broker's clock alone: a source that hangs, or
    a loop that has ended, makes policy stale like one that says nothing. Time goes on through a
    restart, since what is confirmed is kept; where nothing is kept, nothing counts as confirmed.

    A bundle that is activated while the broker runs counts as confirmed then: whoever may do that
    has just said that it is the one.

    Args:
        engine: Knows the active bundle.
        source: Where bundles come from, for people.
    """

    def __init__(
        self,
        rule: FreshnessRule,
        *,
        engine: PolicyEngine,
        source: str,
        keeper: ConfirmationKeeper,
        store: Store,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._rule = rule
        self._engine = engine
        self._keeper = keeper
        self._store = store
        self._clock = clock
        self._telemetry = telemetry
        self._bundle = engine.bundle_sha256
        self._at: datetime | None = None
        self._kept: Confirmation | None = None
        self._is_told_unkept = False
        self._told = self._recorded = Freshness.FRESH
        self.source = source

    async def open(self) -> None:
        """Take up what an earlier life kept, where it speaks of the active bundle."""
        kept = await self._keeper.read()
        if kept is not None and kept.bundle_sha256 == self._bundle:
            self._kept, self._at = kept, kept.at

    @property
    def confirmed_at(self) -> datetime | None:
        """When the active bundle was last confirmed; None: nobody knows of any time."""
        if self._engine.bundle_sha256 != self._bundle:
            self.confirm()
        return self._at

    @property
    def state(self) -> Freshness:
        """How far the active bundle may be relied on now."""
        return self._rule.judge(self.confirmed_at, self._clock.now())

    def confirm(self) -> None:
        """Note that the active bundle is the one that its source has now."""
        self._bundle, self._at = self._engine.bundle_sha256, self._clock.now()

    def check(self) -> None:
        """Refuse to decide by a bundle that went unconfirmed for too long.

        Raises:
            PolicyUnconfirmed: Every call is to be denied.
        """
        if self.state is Freshness.REFUSING:
            raise self._unconfirmed()

    async def run(self, announce: Announce) -> None:
        """Look once a second, for ever, whether people have to be told.

        Args:
            announce: Hears each time whether calls are decided.
        """
        while True:
            try:
                await announce(await self.tell() is not Freshness.REFUSING)
            # Broad, because an error that left this loop would end it without a word.
            except Exception as error:
                self._telemetry.alarm("how fresh policy is was not told", error)
            await self._clock.sleep_until(self._clock.now() + _EVERY)

    async def tell(self) -> Freshness:
        """Tell people what changed since the last time, keep what was confirmed."""
        state = self.state
        self._telemetry.policy_freshness(state, self._at)
        if state not in (self._told, Freshness.FRESH):
            self._telemetry.alarm(f"policy is {state.value}", self._unconfirmed())
        self._told = state
        try:
            if state is not self._recorded:
                await self._store.append_event(self._event(state))
                self._recorded = state
        except StoreUnavailable:
            # Told again in a second; that the store takes nothing is its own alarm elsewhere.
            pass
        await self._keep()
        return state

    async def _keep(self) -> None:
        if self._at is None:
            return
        latest = Confirmation(bundle_sha256=self._bundle, at=self._at)
        if latest == self._kept:
            return
        try:
            await self._keeper.write(latest)
            # Not whatever was confirmed while it was written: that is the next one's.
            self._kept, self._is_told_unkept = latest, False
        except OSError as error:
            if not self._is_told_unkept:
                self._telemetry.alarm("a confirmation of policy is not kept", error)
            self._is_told_unkept = True

    def _event(self, state: Freshness) -> EventDraft:
        data = {"bundle": self._bundle, "confirmed_at": rfc3339(self._at) if self._at else ""}
        return EventDraft(type=_EVENTS[state], at=self._clock.now(), data=data)

    def _unconfirmed(self) -> PolicyUnconfirmed:
        since = f"since {rfc3339(self._at)}" if self._at else "in any time that is known"
        return PolicyUnconfirmed(
            f"{self.source} has not confirmed revision {self._engine.bundle_revision} {since}: see "
            "that it can be reached, and that it offers this revision or a newer one that is taken"
        )
