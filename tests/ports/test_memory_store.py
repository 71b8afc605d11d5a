"""Hold the store in memory to what tests rely on it for."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from broker.core.ids import Pseudonym
from broker.core.lifecycle import CallState, Step
from broker.errors import StoreUnavailable
from broker.ports import File, Store
from tests.ports import history, samples
from tests.ports.memory_store import Fault
from tests.ports.samples import call_id, event, first, following, new_call
from tests.ports.shelf import MemoryShelf

WRITES: dict[str, Callable[[Store], Awaitable[object]]] = {
    "commit": lambda store: store.commit(first(new_call(1, CallState.DENIED))),
    "append_event": lambda store: store.append_event(event("broker.started")),
    "set_premise": lambda store: store.set_premise("name", "value", event("premise.set")),
    "keep_bundle": lambda store: store.keep_bundle(samples.bundle(1), event("policy.activated")),
    "pseudonym": lambda store: store.pseudonym("Ann", Pseudonym("p1")),
}


class TestFaults:
    @pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
    @pytest.mark.parametrize("fault", Fault)
    async def test_each_write(
        self, write: Callable[[Store], Awaitable[object]], fault: Fault
    ) -> None:
        """Any write can fail before or after it is durable; its author hears the same."""
        shelf = MemoryShelf()
        store = await shelf.open()
        shelf.disk.fail_next(fault)
        with pytest.raises(StoreUnavailable):
            await write(store)
        disk = shelf.disk
        is_written = bool(disk.calls or disk.events or disk.premises or disk.people)
        assert is_written is (fault is Fault.AFTER)
        await history.check_store(store)

    async def test_later_write(self) -> None:
        """A fault can be set for a write that is still to come, in a later life too."""
        shelf = MemoryShelf()
        shelf.disk.faults[2] = Fault.BEFORE
        store = await shelf.open()
        await store.commit(first(new_call(1)))
        await store.close()
        store = await shelf.open()
        with pytest.raises(StoreUnavailable):
            await store.commit(first(new_call(2)))
        await store.commit(first(new_call(2)))

    async def test_crash(self) -> None:
        """After a crash the former life can write nothing; the next one finds what was durable."""
        shelf = MemoryShelf()
        former = await shelf.open()
        await former.commit(first(new_call(1)))
        shelf.disk.crash()
        with pytest.raises(StoreUnavailable):
            await former.commit(first(new_call(2)))
        later = await shelf.open()
        with pytest.raises(StoreUnavailable):
            await former.commit(first(new_call(2)))
        await former.close()
        assert list(await history.check_store(later)) == [call_id(1)]
        assert later.epoch == 2


class TestInvariants:
    async def test_misnamed_file(self) -> None:
        """A file whose name is not its digest fails the test."""
        store = await MemoryShelf().open()
        file = File(sha256=samples.digest("other"), data=b"text")
        with pytest.raises(AssertionError, match="digest"):
            await store.commit(first(new_call(1), files=(file,)))

    async def test_broken_record(self) -> None:
        """A record in which a call is not what its events made it fails the test."""
        shelf = MemoryShelf()
        store = await shelf.open()
        await store.commit(first(new_call(1)))
        running = replace(new_call(1), state=CallState.RUNNING)
        shelf.disk.calls[call_id(1)] = running
        with pytest.raises(AssertionError, match="event too many"):
            await store.commit(following(running, Step.KILL))
        with pytest.raises(AssertionError, match="event too many"):
            await store.close()
