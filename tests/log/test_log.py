"""Let the log advance, fail, crash, start again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from broker.adapters.file_signer import FileSigner
from broker.core.lifecycle import CallState, Step
from broker.core.log_leaf import LeafKind
from broker.core.log_proof import read_log_proof
from broker.core.merkle import leaf_hash
from broker.core.merkle_proof import check_consistency, check_inclusion
from broker.errors import FailedPrecondition, LogForked, StoreUnavailable, Unavailable
from broker.log import Log
from tests.core import rfc6962
from tests.log.fakes import (
    ORIGIN,
    MemoryFiles,
    add_receipts,
    checkpoint_in,
    entries_in,
    new_log,
)
from tests.ports import samples
from tests.ports.fake_clock import FakeClock
from tests.ports.memory_store import Fault, MemoryStore
from tests.ports.shelf import MemoryShelf
from tests.story.stage import Alarms
from tests.verify.receipts import new_signer


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> FileSigner:
    """Give the log's key."""
    return new_signer(tmp_path_factory.mktemp("keys") / "log.key")


@pytest.fixture
def shelf() -> MemoryShelf:
    """Give an empty disk."""
    return MemoryShelf()


@pytest.fixture
async def store(shelf: MemoryShelf) -> AsyncIterator[MemoryStore]:
    """Give a store on the disk."""
    opened = await shelf.open()
    assert isinstance(opened, MemoryStore)
    yield opened
    await opened.close()


@pytest.fixture
def files() -> MemoryFiles:
    """Give what readers are shown."""
    return MemoryFiles()


async def opened(store: MemoryStore, files: MemoryFiles, signer: FileSigner) -> Log:
    """Give a log that was taken up."""
    log = new_log(store, files, signer)
    await log.open()
    return log


async def caught_up(log: Log) -> None:
    """Advance to the end; unlike `catch_up`, hear what goes wrong."""
    while await log.advance():
        pass


class TestAdvance:
    async def test_empty(self, store: MemoryStore, files: MemoryFiles, signer: FileSigner) -> None:
        """A log without entries has a head, so that readers know it from the first day."""
        log = await opened(store, files, signer)
        await caught_up(log)
        assert checkpoint_in(files.files["checkpoint"]).size == 0
        assert (await log.head()).checkpoint == files.files["checkpoint"]

    async def test_covers_and_shows(
        self, store: MemoryStore, files: MemoryFiles, signer: FileSigner
    ) -> None:
        """Every receipt is covered; what readers are shown is the record's head with its tiles."""
        log = await opened(store, files, signer)
        await add_receipts(store, 0, 3)
        await caught_up(log)
        head = await store.log_head()
        assert head is not None
        assert files.files["checkpoint"] == head.checkpoint
        assert entries_in(files.files, 3) == list(await store.log_entries(0, 9))
        assert sorted(files.files) == ["checkpoint", "tile/0/000.p/3", "tile/entries/000.p/3"]

    async def test_nothing_new(
        self, store: MemoryStore, files: MemoryFiles, signer: FileSigner
    ) -> None:
        """Where nothing is new nothing is signed or written."""
        log = await opened(store, files, signer)
        await add_receipts(store, 0, 3)
        await caught_up(log)
        before = (files.writes, len(store._disk.log_heads))
        await caught_up(log)
        assert (files.writes, len(store._disk.log_heads)) == before

    async def test_by_tiles(
        self, store: MemoryStore, files: MemoryFiles, signer: FileSigner
    ) -> None:
        """Each head covers no more than the tile that is filled; a full one's partials go."""
        log = await opened(store, files, signer)
        await add_receipts(store, 0, 200)
        await caught_up(log)
        await add_receipts(store, 200, 500)
        await caught_up(log)
        assert sorted(store._disk.log_heads) == [200, 256, 512, 700]
        assert sorted(files.files) == [
            "checkpoint",
            "tile/0/000",
            "tile/0/001",
            "tile/0/002.p/188",
            "tile/1/000.p/1",
            "tile/1/000.p/2",
            "tile/entries/000",
            "tile/entries/001",
            "tile/entries/002.p/188",
        ]

    async def test_once_a_second(
        self, store: MemoryStore, files: MemoryFiles, signer: FileSigner
    ) -> None:
        """Left alone, the log advances when a second has passed."""
        clock = FakeClock()
        log = new_log(store, files, signer, clock=clock)
        await log.open()
        running = asyncio.create_task(log.run())
        assert (await log.head()).size == 0
        await clock.sleeping.wait()
        await add_receipts(store, 0, 2)
        clock.advance(timedelta(milliseconds=999))
        receipt = (await store.list_receipts(after=1, limit=1))[0]
        proof = asyncio.create_task(log.inclusion_proof(receipt))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not proof.done()
        clock.advance(timedelta(milliseconds=1))
        index, size, _ = await proof
        # With the two receipts came the second's batch.
        assert (index, size) == (1, 3)
        running.cancel()

    async def test_cancelled(
        self, store: MemoryStore, files: MemoryFiles, signer: FileSigner
    ) -> None:
        """A step whose author was cancelled ends before the next one begins."""
        log = await opened(store, files, signer)
        await add_receipts(store, 0, 3)
        files.gate.clear()
        first = asyncio.create_task(log.advance())
        await files.waiting.wait()
        first.cancel()
        second = asyncio.create_task(caught_up(log))
        await add_receipts(store, 3, 2)
        files.gate.set()
        await second
        assert files.most_at_once == 1
        assert checkpoint_in(files.files["checkpoint"]).size == 5

    async def test_alarm(self, store: MemoryStore, files: MemoryFiles, signer: FileSigner) -> None:
        """What goes wrong is an alarm; the next second mends it."""
        alarms = Alarms()
        log = new_log(store, files, signer, alarms=alarms)
        await log.open()
        files.faults[1] = Fault.BEFORE
        await log.catch_up()
        assert alarms.heard == ["the log is behind"]
        await log.catch_up()
        assert alarms.heard == ["the log is behind"]
        assert "checkpoint" in files.files

    async def test_ecdsa(self, store: MemoryStore, files: MemoryFiles, tmp_path: Path) -> None:
        """A key that C2SP logs cannot sign with makes no log."""
        with pytest.raises(ValueError, match="Ed25519"):
            new_log(store, files, new_signer(tmp_path / "key", "ecdsa-p256"))


async def grow_until(
    store: MemoryStore, files: MemoryFiles, signer: FileSigner, *, same_life: bool
) -> None:
    """Let a log grow by some batches; each fault is told to it, or ends its life."""
    log: Log | None = None
    added = 0
    for batch in (3, 0, 254, 1, 300):
        await add_receipts(store, added, batch)
        added += batch
        for _ in range(20):
            try:
                if log is None:
                    log = await opened(store, files, signer)
                await caught_up(log)
                break
            except (OSError, StoreUnavailable):
                log = log if same_life else None


async def live_mixed(store: MemoryStore, number: int) -> None:
    """Let calls begin, end and be denied, a halt be lifted; one call runs on."""
    calls = [samples.new_call(number), samples.new_call(number + 1)]
    for call in calls:
        await store.commit(samples.first(call))
        await store.commit(samples.following(call, Step.START))
    await store.append_event(samples.event("halt.lifted"))
    await store.commit(samples.first(samples.new_call(number + 2, CallState.DENIED)))
    started = await store.get_call(calls[0].id)
    assert started is not None
    await store.commit(samples.following(started, Step.SUCCEED))


class TestFaults:
    @pytest.mark.parametrize("same_life", [True, False], ids=["told", "killed"])
    @pytest.mark.parametrize("fault", list(Fault))
    @pytest.mark.parametrize("write", range(1, 25))
    async def test_shown(
        self,
        store: MemoryStore,
        files: MemoryFiles,
        signer: FileSigner,
        write: int,
        fault: Fault,
        *,
        same_life: bool,
    ) -> None:
        """Whichever file could not be shown, or was the last one, the log ends whole."""
        files.faults[write] = fault
        await grow_until(store, files, signer, same_life=same_life)
        assert checkpoint_in(files.files["checkpoint"]).size == 558
        assert entries_in(files.files, 558) == list(await store.log_entries(0, 999))

    @pytest.mark.parametrize("same_life", [True, False], ids=["told", "killed"])
    @pytest.mark.parametrize("fault", list(Fault))
    @pytest.mark.parametrize("advance", range(1, 6))
    async def test_recorded(
        self,
        store: MemoryStore,
        files: MemoryFiles,
        signer: FileSigner,
        advance: int,
        fault: Fault,
        *,
        same_life: bool,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Whichever head was not taken, or its answer lost, the log ends whole, none twice."""
        count = 0
        original = store.advance_log

        async def counted(**parts: object) -> None:
            nonlocal count
            count += 1
            if count == advance:
                store._disk.fail_next(fault)
            await original(**parts)  # type: ignore[arg-type]

        monkeypatch.setattr(store, "advance_log", counted)
        await grow_until(store, files, signer, same_life=same_life)
        assert checkpoint_in(files.files["checkpoint"]).size == 558
        assert sorted(store._disk.log_heads) == [3, 256, 257, 258, 512, 558]

    @pytest.mark.parametrize("same_life", [True, False], ids=["told", "killed"])
    @pytest.mark.parametrize("fault", list(Fault))
    @pytest.mark.parametrize("write", range(1, 9))
    async def test_mixed(
        self,
        store: MemoryStore,
        files: MemoryFiles,
        signer: FileSigner,
        write: int,
        fault: Fault,
        *,
        same_life: bool,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Whichever batch or head was not taken, or its answer lost, every event is in the log, in
        order, and readers see it whole.
        """
        count = 0

        def counting(original: Callable[..., Awaitable[object]]) -> Callable[..., object]:
            async def counted(*args: object, **parts: object) -> object:
                nonlocal count
                count += 1
                if count == write:
                    store._disk.fail_next(fault)
                return await original(*args, **parts)

            return counted

        monkeypatch.setattr(store, "advance_log", counting(store.advance_log))
        monkeypatch.setattr(store, "close_batch", counting(store.close_batch))
        log: Log | None = None
        for number in range(4):
            await live_mixed(store, 100 * number)
            for _ in range(9):
                log = log or await opened(store, files, signer)
                try:
                    await store.close_batch(bytes(16))
                    await caught_up(log)
                except StoreUnavailable:
                    log = log if same_life else None
                else:
                    break
        assert count >= write
        shown = checkpoint_in(files.files["checkpoint"]).size
        assert shown == len(store._disk.log_entries)
        assert entries_in(files.files, shown) == list(await store.log_entries(0, 999))
        kinds = [kind for kind, _ in store._disk.log_entries]
        assert [kinds.count(kind) for kind in (LeafKind.INTENT, LeafKind.RECEIPT)] == [8, 8]
        ranges = [(first, last) for first, last, _ in store._disk.log_batches.values()]
        events = len(store._disk.events)
        covered = [number for first, last in ranges for number in range(first, last + 1)]
        assert covered == list(range(1, events + 1))

    async def test_shown_before_durable_never(
        self, store: MemoryStore, files: MemoryFiles, signer: FileSigner
    ) -> None:
        """A head that the record did not take is shown to nobody."""
        log = await opened(store, files, signer)
        await add_receipts(store, 0, 1)
        store._disk.fail_next(Fault.BEFORE)
        with pytest.raises(StoreUnavailable):
            await log.advance()
        assert files.files == {}


class TestForks:
    async def test_older_store(
        self, shelf: MemoryShelf, files: MemoryFiles, signer: FileSigner
    ) -> None:
        """A store that lacks what readers were shown is not taken up; the one that has it is."""
        store = await shelf.open()
        assert isinstance(store, MemoryStore)
        await add_receipts(store, 0, 3)
        await caught_up(await opened(store, files, signer))
        await store.close()
        older = await MemoryShelf().open()
        assert isinstance(older, MemoryStore)
        await add_receipts(older, 0, 1)
        with pytest.raises(LogForked, match="a log of 3 entries that this store does not have"):
            await opened(older, files, signer)
        await older.close()
        again = await shelf.open()
        assert isinstance(again, MemoryStore)
        await opened(again, files, signer)
        await again.close()

    async def test_same_size(
        self, store: MemoryStore, files: MemoryFiles, signer: FileSigner
    ) -> None:
        """A store of the size that readers were shown, but with another log, is not taken up."""
        other_store = await MemoryShelf().open()
        assert isinstance(other_store, MemoryStore)
        await add_receipts(other_store, 7, 1)
        await add_receipts(store, 0, 1)
        other_files = MemoryFiles()
        await caught_up(await opened(other_store, other_files, signer))
        await caught_up(await opened(store, files, signer))
        with pytest.raises(LogForked, match="does not have"):
            await opened(store, other_files, signer)
        await other_store.close()

    async def test_no_checkpoint(
        self, store: MemoryStore, files: MemoryFiles, signer: FileSigner
    ) -> None:
        """What stands in the checkpoint's place and is none stops the start."""
        files.files["checkpoint"] = b"words\n"
        with pytest.raises(LogForked, match="is none"):
            await opened(store, files, signer)

    async def test_gone(self, store: MemoryStore, files: MemoryFiles, signer: FileSigner) -> None:
        """A log that was shown in a place which is gone is not taken up; in an empty place, made on
        purpose, it is shown anew.
        """
        await add_receipts(store, 0, 3)
        await caught_up(await opened(store, files, signer))
        empty = MemoryFiles()
        with pytest.raises(LogForked, match="a log of 3 entries in a folder that is gone"):
            await opened(store, empty, signer)
        await empty.make()
        await caught_up(await opened(store, empty, signer))
        assert empty.files == files.files

    async def test_wrong_nodes(
        self, store: MemoryStore, files: MemoryFiles, signer: FileSigner
    ) -> None:
        """A record whose nodes are not those of its head is not taken up."""
        await add_receipts(store, 0, 3)
        await caught_up(await opened(store, files, signer))
        good = store._disk.log_nodes[-1]
        store._disk.log_nodes[-1] = bytes(32)
        with pytest.raises(LogForked, match="not those of its checkpoint"):
            await opened(store, files, signer)
        store._disk.log_nodes[-1] = good
        await opened(store, files, signer)


class TestProofs:
    async def test_inclusion(
        self, store: MemoryStore, files: MemoryFiles, signer: FileSigner
    ) -> None:
        """Every receipt's proof holds, each under the latest head."""
        await add_receipts(store, 0, 21)
        log = await opened(store, files, signer)
        await caught_up(log)
        for receipt in await store.list_receipts(after=0, limit=99):
            index, size, file = await log.inclusion_proof(receipt)
            proof = read_log_proof(file)
            assert (index, size, proof.index) == (receipt.sequence - 1, 21, index)
            check_inclusion(
                index=index,
                size=size,
                leaf=leaf_hash(receipt.envelope),
                proof=proof.hashes,
                root=checkpoint_in(proof.checkpoint).root,
            )

    async def test_consistency(
        self, store: MemoryStore, files: MemoryFiles, signer: FileSigner
    ) -> None:
        """The log proves that it only grew, between any sizes that it went through."""
        await add_receipts(store, 0, 21)
        log = await opened(store, files, signer)
        await caught_up(log)
        entries = list(await store.log_entries(0, 99))
        for first, second in [(1, 21), (5, 13), (16, 17), (21, 21)]:
            check_consistency(
                first=first,
                first_root=rfc6962.mth(entries[:first]),
                second=second,
                second_root=rfc6962.mth(entries[:second]),
                proof=await log.consistency_proof(first, second),
            )

    @pytest.mark.parametrize(("first", "second"), [(0, 3), (2, 1), (1, 4), (-1, 3)])
    async def test_no_such_sizes(
        self, store: MemoryStore, files: MemoryFiles, signer: FileSigner, first: int, second: int
    ) -> None:
        """Sizes that the log did not go through in this order are refused."""
        await add_receipts(store, 0, 3)
        log = await opened(store, files, signer)
        await caught_up(log)
        with pytest.raises(FailedPrecondition, match="the log has 3 entries"):
            await log.consistency_proof(first, second)

    async def test_behind(
        self,
        store: MemoryStore,
        files: MemoryFiles,
        signer: FileSigner,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A receipt that no head covers in time is asked for again, later."""
        monkeypatch.setattr("broker.log._COVERED_WITHIN_S", 0.0)
        await add_receipts(store, 0, 1)
        log = await opened(store, files, signer)
        (receipt,) = await store.list_receipts(after=0, limit=1)
        with pytest.raises(Unavailable) as error:
            await log.inclusion_proof(receipt)
        assert error.value.reason == "LOG_BEHIND"

    async def test_verifier_key(
        self, store: MemoryStore, files: MemoryFiles, signer: FileSigner
    ) -> None:
        """The log's key is given under the log's name."""
        assert new_log(store, files, signer).verifier_key.startswith(f"{ORIGIN}+")
