"""Hand what a source of bundles has to the activation."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Final

from broker.activation import Activation, Activator
from broker.core.ids import Sha256, sha256_hex
from broker.errors import BundleInvalid, BundleNotNewer
from broker.freshness import PolicyFreshness
from broker.ports import BundleSource, Clock, Telemetry

_REMEMBERED: Final = 1000


class Look(Enum):
    """How a look ended."""

    CONFIRMED = "confirmed"
    """The active bundle is there."""
    ACTIVATED = "activated"
    """Another one was there, which is active now."""
    REFUSED = "refused"
    """What is there is not taken, now or before."""
    OVERTAKEN = "overtaken"
    """What is there was taken once; somebody activated another one since."""
    FAILED = "failed"
    """Nothing could be had, or what was had could not be tried."""


@dataclass(slots=True, kw_only=True)
class _Offer:
    """What the source has, as far as is known.

    Args:
        sha256: Of its bytes.
        archive: Until it was refused.
        taken: Digest of its bundle, once that was active.
    """

    sha256: Sha256
    archive: bytes
    taken: Sha256 | None = None


class BundleWatch:
    """Look at a source again and again; whatever happens there, the old bundle decides on.

    The source is believed in nothing: what it has is taken by its signature and number alone
    (`Activation`). What was refused is neither tried nor told again as long as it is the same;
    what failed for another cause is tried at the next look. Only a look that finds the active
    bundle, or makes it active, confirms it: "not modified" of a refused one confirms nothing.

    Args:
        every: From the end of one look to the next.
    """

    def __init__(
        self,
        source: BundleSource,
        activation: Activation,
        freshness: PolicyFreshness,
        *,
        every: timedelta,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._source = source
        self._activation = activation
        self._freshness = freshness
        self._every = every
        self._clock = clock
        self._telemetry = telemetry
        self._offer: _Offer | None = None
        self._refused: OrderedDict[Sha256, None] = OrderedDict()
        self._heard: set[str] = set()

    async def run(self) -> None:
        """Look at every interval, for ever; the first time after one."""
        while True:
            await self._clock.sleep_until(self._clock.now() + self._every)
            await self.look()

    async def look(self) -> Look:
        """Look once; what goes wrong is an alarm, once as long as it stays the same."""
        try:
            look = await self._look()
            self._heard.clear()
        # Broad, because an error that left this loop would end it without a word.
        except Exception as error:
            look = Look.FAILED
            if str(error) not in self._heard:
                self._heard.add(str(error))
                self._telemetry.alarm("no policy bundle could be had", error)
        self._telemetry.bundle_looked(look.value)
        return look

    async def _look(self) -> Look:
        if (archive := await self._source.look()) is not None:
            # Digesting megabytes takes its time, which calls are not to wait for.
            sha256 = await asyncio.to_thread(sha256_hex, archive)
            if self._offer is None or self._offer.sha256 != sha256:
                self._offer = _Offer(sha256=sha256, archive=archive)
        offer = self._offer
        assert offer is not None, "a source has given nothing before it gives the same again"
        if offer.sha256 in self._refused:
            return Look.REFUSED
        if offer.taken is None:
            return await self._try(offer)
        if offer.taken != self._activation.active.sha256:
            return Look.OVERTAKEN
        return await self._confirm(offer)

    async def _confirm(self, offer: _Offer) -> Look:
        try:
            # What a source goes on offering counts no more once its key is withdrawn.
            await self._activation.confirm(offer.archive, by=Activator(source=self._source.name))
        except BundleInvalid:
            self._refuse(offer)
            return Look.REFUSED
        self._freshness.confirm()
        return Look.CONFIRMED

    async def _try(self, offer: _Offer) -> Look:
        try:
            done = await self._activation.activate(
                offer.archive, by=Activator(source=self._source.name)
            )
        except (BundleInvalid, BundleNotNewer):
            # The activation has told and recorded it.
            self._refuse(offer)
            return Look.REFUSED
        offer.taken = done.sha256
        self._freshness.confirm()
        return Look.ACTIVATED if done.is_new else Look.CONFIRMED

    def _refuse(self, offer: _Offer) -> None:
        """Remember what was refused; not all of it for ever, since others choose what comes."""
        offer.archive = b""
        self._refused[offer.sha256] = None
        if len(self._refused) > _REMEMBERED:
            self._refused.popitem(last=False)
