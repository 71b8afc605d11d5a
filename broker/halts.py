"""Keep the active halts in memory, and memory's word in the store."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from broker.core.call import Call
from broker.core.document import Document
from broker.core.halt import Halt, Scope, halted_by
from broker.core.ids import AgentId, HaltId, Pseudonym
from broker.errors import HaltNotDurable, StoreUnavailable
from broker.ports import Clock, EventDraft, Store, Telemetry

_STORE_RETRY = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Active:
    """A halt that counts now.

    Args:
        reason: None where it was erased.
        is_durable: Whether a restart would find it.
    """

    halt: Halt
    reason: Document | None
    is_durable: bool


class Halts:
    """Say at once what is halted; the store follows. Used from one event loop.

    Memory is never behind the store: a halt counts here first, and is lifted here last.
    """

    def __init__(self, store: Store, clock: Clock, telemetry: Telemetry) -> None:
        self._store = store
        self._clock = clock
        self._telemetry = telemetry
        self._active: dict[HaltId, Active] = {}
        # One write at a time: a halt that is lifted is not written again by its own retry.
        self._writing = asyncio.Lock()

    async def load(self) -> None:
        """Take up the halts of an earlier life, before any call is."""
        for halt in await self._store.halts():
            reason = await self._store.document(halt.reason_sha256)
            self._active[halt.id] = Active(halt=halt, reason=reason, is_durable=True)
            self._telemetry.halted(halt, len(self._active))

    def over(self, call: Call) -> Halt | None:
        """Find a halt that covers a recorded call."""
        return halted_by((active.halt for active in self._active.values()), call)

    def covers(self, agent: AgentId, session_id: str, tool: str) -> bool:
        """Tell whether a call that is not recorded yet is halted."""
        return any(
            active.halt.scope.covers(agent, session_id, tool) for active in self._active.values()
        )

    def active(self) -> Sequence[Active]:
        """List what is halted, oldest first."""
        return sorted(self._active.values(), key=lambda one: (one.halt.set_at, one.halt.id))

    def of_scope(self, scope: Scope) -> Halt | None:
        """Find the halt of exactly this scope."""
        return next(
            (active.halt for active in self._active.values() if active.halt.scope == scope), None
        )

    def get(self, halt: HaltId) -> Active | None:
        """Find an active halt."""
        return self._active.get(halt)

    def add(self, halt: Halt, reason: Document) -> None:
        """Let a halt count from now on; `keep` makes it durable."""
        self._active[halt.id] = Active(halt=halt, reason=reason, is_durable=False)
        self._telemetry.halted(halt, len(self._active))

    async def keep(self, name: HaltId) -> bool:
        """Write an active halt to the store, where it is not there yet; tell whether it is now.

        Where it is not it counts all the same; one that was lifted meanwhile needs no more.
        """
        async with self._writing:
            active = self._active.get(name)
            if active is None or active.is_durable or active.reason is None:
                return True
            event = EventDraft(type="halt.set", at=self._clock.now(), data=active.halt.event_data)
            try:
                await self._store.set_halt(active.halt, active.reason, event)
            except StoreUnavailable:
                return False
            self._active[name] = replace(active, is_durable=True)
            return True

    async def insist(self, name: HaltId) -> None:
        """Write a halt as soon as the store takes it, unless it is lifted before."""
        while name in self._active:
            await self._clock.sleep_until(self._clock.now() + _STORE_RETRY)
            if await self.keep(name):
                return
            self._telemetry.alarm("a halt waits for the store", HaltNotDurable(f"halts/{name}"))

    async def lift(self, halt: Halt, by: Pseudonym) -> None:
        """Lift a halt, in the store first.

        Raises:
            StoreUnavailable: It may stand in the store, so it counts on.
        """
        data = {"halt": halt.id, "by": by}
        event = EventDraft(type="halt.lifted", at=self._clock.now(), data=data)
        async with self._writing:
            await self._store.lift_halt(halt.id, event)
            lifted = self._active.pop(halt.id, None)
        if lifted is not None:
            self._telemetry.resumed(halt, len(self._active))
