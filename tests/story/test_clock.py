"""A clock that is not believed: nothing is approved, begun or expired."""

from datetime import datetime, timedelta

import pytest

from broker.core.lifecycle import CallState
from broker.errors import ClockUntrusted, FailedPrecondition, InvalidArgument, Unavailable
from broker.timekeeping import go_on_at
from tests.ports import samples
from tests.ports.fake_sandbox import Trouble
from tests.ports.memory_store import Fault
from tests.story.stage import ADMIN, HELD, Stage


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

    async def test_nothing_begins_in_a_container_that_was_just_made(self) -> None:
        """A clock that jumps while a container is made keeps the call from beginning in it."""
        stage = Stage()
        await stage.start()
        stage.host.troubles.append(Trouble.SLOW_MAKER)
        call = await stage.call()
        await stage.settle()
        stage.clock.is_trusted = False
        await stage.pass_time(10)
        assert (stage.stored(call.id).state, stage.host.containers) == (CallState.QUEUED, {})
        stage.clock.is_trusted = True
        await stage.pass_time(30)
        assert stage.stored(call.id).state is CallState.SUCCEEDED
        await stage.check_all_ended()


class TestGoOnAt:
    async def _distrusted(self) -> Stage:
        """Have a broker whose machine says that it is three days later."""
        stage = Stage()
        await stage.start()
        stage.clock.is_trusted = False
        stage.clock.claimed = samples.START + timedelta(days=3)
        return stage

    async def _go_on_at(self, stage: Stage, at: datetime) -> datetime:
        return await go_on_at(stage.life.world, ADMIN, at)

    async def test_goes_on(self) -> None:
        """A call that waited for the clock begins once the time is named, by a recorded event."""
        stage = await self._distrusted()
        call = await stage.call()
        await stage.settle()
        assert stage.stored(call.id).state is CallState.QUEUED
        at = samples.START + timedelta(seconds=60)
        assert await self._go_on_at(stage, at) == samples.START
        await stage.settle()
        assert stage.stored(call.id).state is CallState.SUCCEEDED
        (event,) = [event for event in stage.disk.events if event.type == "clock.set"]
        assert (event.at, event.data["was"]) == (at, "2026-11-02T09:00:00.123457Z")
        assert event.data["by"] == stage.disk.people["admin-person"]
        await stage.check_all_ended()

    async def test_expires_what_is_out_of_time(self) -> None:
        """A hold whose time is over by the time named expires, rather than being decided."""
        stage = await self._distrusted()
        call = await stage.call(HELD)
        await self._go_on_at(stage, samples.START + timedelta(days=3))
        await stage.settle()
        assert stage.stored(call.id).state is CallState.EXPIRED

    @pytest.mark.parametrize("off", [timedelta(seconds=-1), timedelta(days=4, seconds=1)])
    async def test_beyond_reason(self, off: timedelta) -> None:
        """A time before the broker's own, or a day beyond every clock, is refused."""
        stage = await self._distrusted()
        with pytest.raises(InvalidArgument):
            await self._go_on_at(stage, samples.START + off)
        assert not stage.clock.is_trusted
        assert "clock.set" not in [event.type for event in stage.disk.events]

    async def test_believed(self) -> None:
        """A clock that is believed is followed; no time is named beside it."""
        stage = Stage()
        await stage.start()
        with pytest.raises(FailedPrecondition) as caught:
            await self._go_on_at(stage, samples.START + timedelta(seconds=1))
        assert caught.value.reason == "CLOCK_TRUSTED"

    async def test_store_away(self) -> None:
        """A time that cannot be recorded is not followed."""
        stage = await self._distrusted()
        stage.disk.fail_next(Fault.BEFORE)
        with pytest.raises(Unavailable):
            await self._go_on_at(stage, samples.START + timedelta(seconds=1))
        assert not stage.clock.is_trusted

    async def test_alarm_at_start(self) -> None:
        """A broker that starts without a believed clock says so at once."""
        stage = Stage()
        stage.clock.is_trusted = False
        await stage.start()
        assert "calls wait for the clock" in stage.alarms.heard
