"""Halt calls at an administrator's word; let them go on.

The order is what matters: a halt counts in memory, then its containers are killed, then the store
takes it, then its maker is answered. A crash before the store has it leaves no halt, and no answer
that said that there was one.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from broker.core.call import Cause
from broker.core.document import DocumentKind
from broker.core.halt import Halt, Scope
from broker.core.identity import Identity
from broker.core.ids import HaltId, Pseudonym, short_id
from broker.core.lifecycle import CallState
from broker.errors import (
    HaltNotDurable,
    InvalidArgument,
    NotFound,
    StoreUnavailable,
    Unavailable,
)
from broker.halts import Active
from broker.ports import EventDraft
from broker.run import Runs
from broker.tasks import Tasks
from broker.world import World

_REASON_CHARACTERS = 2_000
# Longer than a kill takes; an Engine that hangs must not keep the halt off the record.
_KILLS_FIRST_S = 2.0
_STORE_S = 5.0
_NAMED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Halted:
    """What a halt did.

    Args:
        was_active: Whether this scope was halted before.
        killed: Calls that were in a container, which was killed.
        waiting: Held and queued calls that wait now.
    """

    active: Active
    was_active: bool
    killed: int
    waiting: int


class Brake:
    """Set and lift halts. Used from one event loop."""

    def __init__(self, world: World, runs: Runs) -> None:
        self._world = world
        self._runs = runs
        self._tasks = Tasks()

    async def halt(self, admin: Identity, scope: Scope, reason: str) -> Halted:
        """Stop everything in a scope; a scope that is halted already keeps its halt.

        Goes on to its end where the one who waits for it is cancelled.

        Raises:
            InvalidArgument: There is no reason, or it is too long.
            NotFound: The scope names an agent or a tool that nobody knows: nothing was halted.
            HaltNotDurable: It counts, its containers are dead, but a restart would forget it.
        """
        if not reason.strip() or len(reason) > _REASON_CHARACTERS:
            raise InvalidArgument("reason", f"say why in 1 to {_REASON_CHARACTERS} characters")
        self._check_known(scope)
        return await self._tasks.detached(self._halt(admin, scope, reason))

    async def _halt(self, admin: Identity, scope: Scope, reason: str) -> Halted:
        halts = self._world.halts
        known = halts.of_scope(scope)
        halt = known or self._set(admin, scope, reason)
        waiting = self._ring(scope)
        killed = await self._kill(scope)
        await self._keep(halt)
        if known is not None:
            await self._note_again(admin, halt)
        active = halts.get(halt.id)
        if active is None:
            raise Unavailable(f"{halt.name} was lifted while it was being set: look, then retry")
        return Halted(active=active, was_active=known is not None, killed=killed, waiting=waiting)

    def _set(self, admin: Identity, scope: Scope, reason: str) -> Halt:
        world = self._world
        maker = world.people.actor(admin)
        document = world.seal(DocumentKind.HALT, {"reason": reason, "set_by": maker})
        halt = Halt(
            id=HaltId(short_id(world.entropy.random_bytes(5))),
            scope=scope,
            set_by=maker,
            set_at=world.clock.now(),
            reason_sha256=document.sha256,
        )
        world.halts.add(halt, document)
        return halt

    async def _kill(self, scope: Scope) -> int:
        """Kill what runs in the scope, all at once; tell how many calls that were."""
        caught = self._runs.covered(scope)
        killing = [self._tasks.start(sandbox.kill(Cause.HALTED)) for sandbox in caught]
        if killing:
            await asyncio.wait(killing, timeout=_KILLS_FIRST_S)
        for kill in killing:
            if kill.done() and (error := kill.exception()):
                self._world.telemetry.alarm("a halted container could not be killed", error)
        return len(caught)

    async def _keep(self, halt: Halt) -> None:
        halts = self._world.halts
        keeping = self._tasks.start(halts.keep(halt.id))
        await asyncio.wait({keeping}, timeout=_STORE_S)
        if keeping.done() and keeping.result():
            return
        self._tasks.start(halts.insist(halt.id))
        not_durable = HaltNotDurable(halt.name)
        self._world.telemetry.alarm("a halt waits for the store", not_durable)
        raise not_durable

    async def _note_again(self, admin: Identity, halt: Halt) -> None:
        """Record who asked for a halt that stood already; it does not depend on that."""
        world = self._world
        data = {"halt": halt.id, "by": world.people.actor(admin)}
        try:
            await world.store.append_event(
                EventDraft(type="halt.repeated", at=world.clock.now(), data=data)
            )
        except StoreUnavailable as error:
            world.telemetry.alarm("a repeated halt is not in the record", error)

    async def resume(self, admin: Identity, halt: HaltId | None) -> Sequence[Halt]:
        """Lift a halt, or all of them; what waited goes on by itself.

        Args:
            halt: None lifts every halt that is active now.

        Raises:
            NotFound: No such halt is active.
            Unavailable: The store takes no changes, so what is not lifted yet stays.
        """
        chosen = self.active() if halt is None else [self._find(halt)]
        by = self._world.people.actor(admin)
        return await self._tasks.detached(self._lift([one.halt for one in chosen], by))

    async def _lift(self, chosen: Sequence[Halt], by: Pseudonym) -> Sequence[Halt]:
        for halt in chosen:
            try:
                await self._world.halts.lift(halt, by)
            except StoreUnavailable as error:
                raise Unavailable(
                    f"{halt.name} stays, for the store takes no changes: {error.message}",
                    reason=error.reason,
                ) from error
            self._ring(halt.scope)
        return chosen

    def _find(self, halt: HaltId) -> Active:
        found = self._world.halts.get(halt)
        if found is None:
            names = ", ".join(one.halt.name for one in self.active()[:_NAMED]) or "none"
            raise NotFound(f"halt: no halt {halt!r} is active; active: {names}")
        return found

    def active(self) -> Sequence[Active]:
        """List active halts, oldest first."""
        return self._world.halts.active()

    def _ring(self, scope: Scope) -> int:
        """Let every call in a scope look at its halts anew; count those that have not begun."""
        world = self._world
        covered = [call for call in world.ledger.open_calls() if scope.covers_call(call)]
        for call in covered:
            world.board.publish(call.id)
        return sum(call.state is not CallState.RUNNING for call in covered)

    def _check_known(self, scope: Scope) -> None:
        """Refuse a name that nobody has: a halt that stops nothing is worse than an error."""
        world = self._world
        calls = world.ledger.open_calls()
        if scope.agent and not any(call.agent == scope.agent for call in calls):
            _check_name("agent", scope.agent, world.people.agents())
        if scope.tool and not any(call.tool == scope.tool for call in calls):
            _check_name("tool", scope.tool, [tool.name for tool in world.toolbox.all()])


def _check_name(field: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        there_are = ", ".join(known[:_NAMED]) or "none"
        raise NotFound(
            f"scope.{field}: {name!r} is not known, nothing was halted; known: {there_are}"
        )
