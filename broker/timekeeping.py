"""Let a broker that does not believe its machine's clock go on from a time that people name."""

from datetime import datetime, timedelta

from broker.core.identity import Identity
from broker.core.instant import rfc3339
from broker.errors import FailedPrecondition, InvalidArgument, StoreUnavailable, Unavailable
from broker.ports import EventDraft
from broker.world import World

_FURTHEST = timedelta(hours=24)
_NEXT_MINUTE = timedelta(minutes=1)


async def go_on_at(world: World, admin: Identity, at: datetime) -> datetime:
    """Go on from a time; give what the broker's own was.

    What waited goes on by itself: what is out of time by now expires.

    Raises:
        FailedPrecondition: The machine's clock is believed, so it is followed.
        InvalidArgument: The time is before the broker's own, or beyond all reason.
        Unavailable: The store does not take the event that says so; nothing was changed.
    """
    clock = world.clock
    if clock.is_trusted:
        raise FailedPrecondition(
            "the broker believes its machine's clock, so there is no time to name",
            subject="clock",
            reason="CLOCK_TRUSTED",
        )
    was, machine = clock.now(), clock.machine_time()
    _check(at, was, machine)
    data = {"was": rfc3339(was), "machine": rfc3339(machine), "by": world.people.actor(admin)}
    try:
        await world.store.append_event(EventDraft(type="clock.set", at=at, data=data))
    except StoreUnavailable as error:
        raise Unavailable(
            f"the time stays as it is, for the store takes no changes: {error.message}",
            reason=error.reason,
        ) from error
    clock.go_on_at(at)
    for call in world.ledger.open_calls():
        world.board.publish(call.id)
    return was


def _check(at: datetime, was: datetime, machine: datetime) -> None:
    """Refuse a time that would turn the record back, or that no later start could get back from."""
    if at < was:
        raise InvalidArgument(
            "clock_now",
            f"the broker's time is {rfc3339(was)} and never goes back: name a later time, such as "
            f"{rfc3339(was + _NEXT_MINUTE)}",
        )
    if at > max(was, machine) + _FURTHEST:
        raise InvalidArgument(
            "clock_now",
            f"that is more than 24 h ahead of the broker's time ({rfc3339(was)}) and of its "
            f"machine's ({rfc3339(machine)}): set the machine's clock right first",
        )
