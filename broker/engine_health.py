"""Tell whether the policy engine decides as it must."""

import asyncio
from typing import Final

from broker.core.canary import CANARY, check_canary
from broker.errors import PolicyError
from broker.ports import Clock, PolicyEngine

_FRESH_S: Final = 1.0


class EngineHealth:
    """Asks the engine the canary, as the start did: connection, bundle and answer in one.

    Whoever may ask for it may do so at any rate, so that one answer serves all for a second.
    """

    def __init__(self, engine: PolicyEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._asking = asyncio.Lock()
        self._known: str | None = None
        self._known_at_s = 0.0

    async def fault(self) -> str:
        """Give the reason why no call is decided, such as POLICY_STALE; empty: calls are."""
        async with self._asking:
            now_s = self._clock.monotonic_s()
            if self._known is None or now_s - self._known_at_s >= _FRESH_S:
                self._known, self._known_at_s = await self._ask(), self._clock.monotonic_s()
            return self._known

    async def _ask(self) -> str:
        try:
            check_canary((await self._engine.evaluate(CANARY)).output)
        except PolicyError as error:
            return error.reason
        return ""
