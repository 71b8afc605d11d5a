"""What is kept of open calls in memory, against what the record says."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from broker.core.call import Call
from broker.core.ids import CallId
from broker.core.lifecycle import CallState, Step, after
from broker.errors import StaleCall, StoreUnavailable
from tests.ports import samples
from tests.ports.memory_store import Fault
from tests.story.stage import HELD, Stage


async def _held(stage: Stage) -> Call:
    await stage.start()
    return await stage.call(HELD)


def _voted(call: Call) -> tuple[Call, Sequence[tuple[Step, dict[str, str]]]]:
    return replace(call, state=after(call.state, Step.VOTE)), [(Step.VOTE, {})]


class TestLostAnswer:
    async def test_found_in_the_record(self) -> None:
        """A change whose answer was lost, but which stands in the record, was made."""
        stage = Stage()
        call = await _held(stage)
        stage.disk.fail_next(Fault.AFTER)
        written, _ = await stage.life.world.ledger.record(*_voted(call))
        assert written.version == 2
        assert await stage.read(call.id) == written

    async def test_not_in_the_record(self) -> None:
        """A change that does not stand in the record failed; memory is as before."""
        stage = Stage()
        call = await _held(stage)
        stage.disk.fail_next(Fault.BEFORE)
        with pytest.raises(StoreUnavailable):
            await stage.life.world.ledger.record(*_voted(call))
        assert await stage.read(call.id) == call

    async def test_record_unreadable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the record cannot be asked either, the next reader asks it again."""
        stage = Stage()
        call = await _held(stage)
        store = stage.life.world.store

        async def refuse(_: CallId) -> Call | None:
            raise StoreUnavailable("it cannot be read now")

        with monkeypatch.context() as unreadable:
            unreadable.setattr(store, "get_call", refuse)
            stage.disk.fail_next(Fault.AFTER)
            with pytest.raises(StoreUnavailable):
                await stage.life.world.ledger.record(*_voted(call))
            with pytest.raises(StoreUnavailable):
                await stage.read(call.id)
        assert (await stage.read(call.id)).version == 2


class TestStale:
    async def test_behind_the_record(self) -> None:
        """Memory that a stale change shows to be behind the record is read anew."""
        stage = Stage()
        call = await _held(stage)
        await stage.life.world.store.commit(samples.following(call, Step.VOTE))
        with pytest.raises(StaleCall):
            await stage.life.world.ledger.record(*_voted(call))
        assert (await stage.read(call.id)).version == 2
        assert stage.stored(call.id).state is CallState.HELD
