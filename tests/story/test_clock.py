"""A clock that is not believed: nothing is approved, begun or expired."""

import pytest

from broker.core.lifecycle import CallState
from broker.errors import ClockUntrusted
from tests.story.stage import HELD, Stage


class TestUntrusted:
    async def test_nothing_expires(self) -> None:
        """A hold outlives its time until the clock is believed again, then expires."""
        stage = Stage()
        await stage.start()
        call = await stage.call(HELD)
        stage.clock.is_trusted = False
        await stage.pass_time(100_000)
        meanwhile = stage.stored(call.id).state
        stage.clock.is_trusted = True
        await stage.pass_time(10)
        assert (meanwhile, stage.stored(call.id).state) == (CallState.HELD, CallState.EXPIRED)

    async def test_nothing_is_approved(self) -> None:
        """A vote is refused with a reason of its own; the call stays held."""
        stage = Stage()
        await stage.start()
        call = await stage.call(HELD)
        stage.clock.is_trusted = False
        with pytest.raises(ClockUntrusted):
            await stage.vote(call.id)
        assert stage.stored(call.id).state is CallState.HELD

    async def test_nothing_begins(self) -> None:
        """An allowed call waits, and runs when the clock is believed again."""
        stage = Stage()
        await stage.start()
        stage.clock.is_trusted = False
        call = await stage.call()
        await stage.pass_time(30)
        meanwhile = stage.stored(call.id).state
        stage.clock.is_trusted = True
        await stage.pass_time(30)
        assert (meanwhile, stage.stored(call.id).state) == (
            CallState.QUEUED,
            CallState.SUCCEEDED,
        )
        await stage.check_all_ended()
