"""Keep started containers waiting for calls, each for one call alone."""

import asyncio
from collections import deque
from collections.abc import Mapping
from datetime import timedelta
from math import inf

from broker.core.pool import Budget, Demand
from broker.core.sandbox import Profile
from broker.ports import Clock, Entropy, Sandbox, SandboxEngine, Telemetry
from broker.tasks import Tasks, first

LULL_S = 0.05
"""So long none is made after one was handed out: that takes a processor, which the call needs."""

YIELD_S = 2.0
"""So long calls that wait for containers of their own keep the pool from making one."""

LOOK_S = 30.0
"""So often it is looked whether what waits is still there."""

_PAUSE = timedelta(seconds=1)


class WarmPool:
    """Hand out containers that were started before they were asked for (a `SandboxEngine`).

    A container waits for exactly its profile, is made and read back as any other, knows nothing of
    the call, is handed out once, and never taken back. Where none waits, or one with sockets of
    its own is asked for, it is made while the call waits, as without a pool. Containers of an
    earlier boot are never here: image and catalogue change with a restart alone. With the policy
    `renew` discards them.

    Used from one event loop.

    Args:
        engine: Makes every container; closed with the pool.
        budget: What waits at a time, that which is being made included.
    """

    def __init__(
        self,
        engine: SandboxEngine,
        budget: Budget,
        *,
        clock: Clock,
        entropy: Entropy,
        telemetry: Telemetry,
    ) -> None:
        self._engine = engine
        self._demand = Demand(budget)
        self._clock = clock
        self._entropy = entropy
        self._telemetry = telemetry
        self._waiting: dict[Profile, deque[Sandbox]] = {}
        self._asked = asyncio.Event()
        self._handed_out_s = -inf
        self._lacks_since_s = inf
        self._is_closed = False
        self._being_made_for_calls = 0
        self._generation = 0
        self._tasks = Tasks()
        self._keeper: asyncio.Task[None] | None = None

    async def prepare(self, profile: Profile, *, slot: str) -> Sandbox:
        """Hand out a waiting container of exactly this profile, or make one in this slot.

        Raises:
            SandboxError: It could not be made, or was not made as demanded; nothing is left.
        """
        if profile.egress:
            return await self._make(profile, slot)
        if sandbox := self.at_hand(profile):
            return sandbox
        sandbox = await self._make(profile, slot)
        # Only now: one that cannot be made is wanted by nobody but its call.
        self._demand.note(profile, self._clock.monotonic_s())
        self._refill()
        return sandbox

    def at_hand(self, profile: Profile) -> Sandbox | None:
        """Hand out a waiting container of exactly this profile; None where none waits."""
        sandbox = self._take(profile)
        if sandbox is not None:
            self._demand.note(profile, self._clock.monotonic_s())
            self._refill()
        return sandbox

    def renew(self) -> None:
        """Let no call have a container that waits now, or is just being made to wait."""
        self._generation += 1
        waiting = [sandbox for each in self._waiting.values() for sandbox in each]
        # The queues stay: the keeper may be in the midst of one.
        for each in self._waiting.values():
            each.clear()
        self._tell_waiting()
        for sandbox in waiting:
            self._tasks.start(self._discard(sandbox))
        self._asked.set()

    async def sweep(self) -> int:
        """Remove this installation's containers of earlier boots; return how many.

        Raises:
            SandboxError: The Engine does not answer.
        """
        return await self._engine.sweep()

    async def check(self) -> Mapping[str, str]:
        """Describe the Engine.

        Raises:
            SandboxError: It does not answer.
        """
        return await self._engine.check()

    async def close(self) -> None:
        """Discard what waits, then close the engine."""
        self._is_closed = True
        await self._tasks.cancel()
        await self._engine.close()

    def _take(self, profile: Profile) -> Sandbox | None:
        waiting = self._waiting.get(profile, deque())
        while waiting:
            sandbox = waiting.popleft()
            self._tell_waiting()
            # Killed from outside, or by an Engine that was restarted.
            if sandbox.is_fresh:
                self._handed_out_s = self._clock.monotonic_s()
                self._telemetry.sandbox_taken(was_waiting=True)
                return sandbox
            self._tasks.start(self._discard(sandbox))
        return None

    async def _make(self, profile: Profile, slot: str) -> Sandbox:
        self._being_made_for_calls += 1
        try:
            sandbox = await self._engine.prepare(profile, slot=slot)
        finally:
            self._being_made_for_calls -= 1
            self._asked.set()
        self._telemetry.sandbox_taken(was_waiting=False)
        return sandbox

    def _refill(self) -> None:
        self._asked.set()
        if self._keeper is None and not self._is_closed:
            self._keeper = self._tasks.start(self._keep())

    async def _keep(self) -> None:
        """Make and discard, one at a time, until what waits is what is wanted."""
        while True:
            self._asked.clear()
            try:
                await self._take_turn()
            except Exception as error:
                # A fault of ours must not leave every call without a container for good.
                self._telemetry.alarm("the pool met a fault of the broker", error)
                await self._clock.sleep_until(self._clock.now() + _PAUSE)

    async def _take_turn(self) -> None:
        await self._discard_the_dead()
        wanted = self._demand.wanted(self._clock.monotonic_s())
        await self._discard_beyond(wanted)
        lacking = self._first_lacking(wanted)
        self._note_lack(is_lacking=lacking is not None)
        if lacking is None:
            await self._rest()
            return
        await self._lull()
        if self._may_make():
            self._lacks_since_s = inf
            await self._make_ahead(lacking)
        else:
            await self._rest()

    def _first_lacking(self, wanted: Mapping[Profile, int]) -> Profile | None:
        return next(
            (
                profile
                for profile, most in wanted.items()
                if len(self._waiting.get(profile, ())) < most
            ),
            None,
        )

    def _note_lack(self, *, is_lacking: bool) -> None:
        since_s = min(self._lacks_since_s, self._clock.monotonic_s())
        self._lacks_since_s = since_s if is_lacking else inf

    def _may_make(self) -> bool:
        """Let calls that wait for a container come first, though not for ever: one may hang."""
        is_over = self._clock.monotonic_s() >= self._lacks_since_s + YIELD_S
        return is_over or not self._being_made_for_calls

    async def _discard_the_dead(self) -> None:
        """Clear away what was killed while it waited: it takes the place of one that lives."""
        dead = [each for waiting in self._waiting.values() for each in waiting if not each.is_fresh]
        # All of them before the first wait: a call may come meanwhile, and must meet none.
        for waiting in self._waiting.values():
            for sandbox in [each for each in waiting if each in dead]:
                waiting.remove(sandbox)
        self._tell_waiting()
        for sandbox in dead:
            await self._discard(sandbox)

    async def _discard_beyond(self, wanted: Mapping[Profile, int]) -> None:
        for profile, waiting in list(self._waiting.items()):
            while len(waiting) > wanted.get(profile, 0):
                sandbox = waiting.popleft()
                self._tell_waiting()
                await self._discard(sandbox)
            if not waiting:
                del self._waiting[profile]

    async def _discard(self, sandbox: Sandbox) -> None:
        try:
            await sandbox.discard()
        except Exception as error:
            # The engine's sweep removes it; the pool goes on.
            self._telemetry.alarm("a waiting container could not be removed", error)

    async def _lull(self) -> None:
        """Leave the processors to a call that got its container just now."""
        left_s = self._handed_out_s + LULL_S - self._clock.monotonic_s()
        if left_s > 0:
            await self._clock.sleep_until(self._clock.now() + timedelta(seconds=left_s))

    async def _make_ahead(self, profile: Profile) -> None:
        generation = self._generation
        try:
            sandbox = await self._engine.prepare(profile, slot=self._entropy.random_bytes(8).hex())
        except Exception as error:
            # No fault, ours neither, may end the pool. The next call that gets such a container of
            # its own asks for more; one that gets none hears why.
            self._telemetry.alarm("no container could be made ahead", error)
            self._demand.forget(profile)
            return
        if generation != self._generation:
            await self._discard(sandbox)
            return
        self._waiting.setdefault(profile, deque()).append(sandbox)
        self._tell_waiting()

    async def _rest(self) -> None:
        """Wait until a call asks, or time alone changes what there is to do."""
        now_s = self._clock.monotonic_s()
        less_at_s = self._demand.changes_at(now_s)
        until_s = min(
            inf if less_at_s is None else less_at_s,
            now_s + LOOK_S if self._waiting else inf,
            self._lacks_since_s + YIELD_S,
        )
        if until_s == inf:
            await self._asked.wait()
            return
        until = self._clock.now() + timedelta(seconds=until_s - now_s)
        await first(self._asked.wait(), self._clock.sleep_until(until))

    def _tell_waiting(self) -> None:
        self._telemetry.sandboxes_waiting(sum(map(len, self._waiting.values())))
