"""Hold each store to what it promises of the log."""

import asyncio

import pytest

from broker.core.ids import Sha256
from broker.core.lifecycle import CallState, Step
from broker.core.log_leaf import LeafKind
from broker.core.merkle import Frontier, Node, leaf_hash, stored_count
from broker.core.receipt import Position, ReceiptDraft
from broker.core.signed_note import NoteSignature
from broker.core.witness import Cosignature
from broker.errors import StaleLog
from broker.ports import Store
from tests.ports import samples
from tests.ports.samples import event, first, following, log_head, new_call
from tests.ports.shelf import Shelf


async def add_receipts(store: Store, count: int) -> None:
    """End so many calls."""
    for number in range(count):
        await store.commit(first(new_call(number, CallState.DENIED)))


def nodes(size: int) -> list[bytes]:
    """Give the nodes of a log of so many entries, whatever they are."""
    return Frontier.empty().extended(leaf_hash(b"%d" % index) for index in range(size))[1]


class TestLog:
    async def test_empty(self, store: Store) -> None:
        """A new store has no head, no entries."""
        assert await store.log_head() is None
        assert await store.log_head(0) is None
        assert list(await store.log_entries(0, 9)) == []

    async def test_entries(self, store: Store) -> None:
        """Entries are the receipts' envelopes by sequence, from 0."""
        await add_receipts(store, 5)
        receipts = await store.list_receipts(after=0, limit=9)
        envelopes = [receipt.envelope for receipt in receipts]
        assert list(await store.log_entries(0, 9)) == envelopes
        assert list(await store.log_entries(1, 2)) == envelopes[1:3]
        assert list(await store.log_entries(5, 9)) == []

    async def test_reads_back(self, store: Store) -> None:
        """What was appended is read, each head by its size, the latest without one."""
        await add_receipts(store, 3)
        await store.advance_log(expected=None, hashes=[], to=log_head(0), leaves={})
        await store.advance_log(expected=log_head(0), hashes=nodes(2), to=log_head(2), leaves={})
        await store.advance_log(
            expected=log_head(2), hashes=nodes(3)[3:], to=log_head(3), leaves={}
        )
        assert await store.log_head() == log_head(3)
        assert [await store.log_head(size) for size in (0, 1, 2)] == [
            log_head(0),
            None,
            log_head(2),
        ]
        wanted = [Node(1, 0), Node(0, 2), Node(0, 0)]
        found = await store.fold_log(lambda read: list(read(wanted)))
        assert found == [nodes(3)[2], nodes(3)[3], nodes(3)[0]]

    async def test_nothing_to_read(self, store: Store) -> None:
        """Of no nodes, none are read."""
        assert await store.fold_log(lambda read: list(read([]))) == []

    async def test_stale(self, store: Store) -> None:
        """Whoever made a head from another than the latest is refused, whatever is new."""
        await add_receipts(store, 3)
        await store.advance_log(expected=None, hashes=nodes(1), to=log_head(1), leaves={})
        with pytest.raises(StaleLog):
            await store.advance_log(expected=None, hashes=nodes(2), to=log_head(2), leaves={})
        with pytest.raises(StaleLog):
            await store.advance_log(
                expected=log_head(2), hashes=nodes(3)[3:], to=log_head(3), leaves={}
            )
        assert await store.log_head() == log_head(1)

    @pytest.mark.parametrize(
        ("hashes", "size"),
        [(nodes(2), 3), (nodes(2)[:2], 2), (nodes(4), 4), ([], 0)],
        ids=["too few", "a node left out", "more than entries", "not grown"],
    )
    async def test_bugs(self, store: Store, hashes: list[bytes], size: int) -> None:
        """Nodes that make no log of that size, or a size that cannot be, are refused."""
        await add_receipts(store, 3)
        await store.advance_log(expected=None, hashes=[], to=log_head(0), leaves={})
        with pytest.raises(ValueError, match=r"."):
            await store.advance_log(
                expected=log_head(0), hashes=hashes, to=log_head(size), leaves={}
            )
        assert await store.log_head() == log_head(0)
        await store.advance_log(expected=log_head(0), hashes=nodes(3), to=log_head(3), leaves={})

    async def test_race(self, store: Store) -> None:
        """Of twenty who advance from one head, one does."""
        await add_receipts(store, 20)
        tries = [
            store.advance_log(expected=None, hashes=nodes(size), to=log_head(size), leaves={})
            for size in range(1, 21)
        ]
        found = await asyncio.gather(*tries, return_exceptions=True)
        assert [type(each) for each in found].count(StaleLog) == 19
        assert found.count(None) == 1

    async def test_beside_calls(self, store: Store) -> None:
        """Calls that end while the log advances harm it no more than it harms them."""
        await add_receipts(store, 2)
        await asyncio.gather(
            *(store.commit(first(new_call(n, CallState.DENIED))) for n in range(2, 40)),
            store.advance_log(expected=None, hashes=nodes(2), to=log_head(2), leaves={}),
        )
        assert len(await store.log_entries(0, 99)) == 40
        assert await store.log_head() == log_head(2)

    async def test_kinds(self, store: Store) -> None:
        """What has an entry of its own has it in the order of the events, all others have none."""
        await store.append_event(event("key.in_use", role="log"))
        call = new_call(1)
        started = following(call, Step.START)
        await store.commit(first(call))
        await store.commit(started)
        await store.commit(first(new_call(2, CallState.DENIED)))
        await store.append_event(event("clock.set"))
        await store.commit(following(started.call, Step.SUCCEED))
        await store.append_event(event("halt.lifted"))
        found = await store.log_sources(0, 9)
        assert [(entry.index, entry.kind.value) for entry in found] == [
            (0, "key"),
            (1, "intent"),
            (2, "receipt"),
            (3, "receipt"),
            (4, "halt"),
        ]
        receipts = await store.list_receipts(after=0, limit=9)
        assert [entry.receipt for entry in found[2:4]] == [each.envelope for each in receipts]
        assert [await store.log_index(sequence) for sequence in (1, 2)] == [2, 3]
        assert [entry.event.type for entry in found if entry.event] == [
            "key.in_use",
            "run.starting",
            "halt.lifted",
        ]
        assert found[1].call == (await store.get_call(call.id))
        assert await store.log_sources(3, 1) == found[3:4]

    async def test_receipts_are_told_their_place(self, shelf: Shelf) -> None:
        """A receipt is sealed with its index, whatever stands between, at once with others too."""
        told = []

        def seal(draft: ReceiptDraft, position: Position) -> bytes:
            told.append((position.sequence, position.index))
            return samples.seal(draft, position)

        store = await shelf.open(seal)
        await store.append_event(event("key.in_use"))
        await asyncio.gather(
            store.commit(first(new_call(1, CallState.DENIED))),
            store.commit(first(new_call(2))),
            store.commit(first(new_call(3, CallState.DENIED))),
        )
        await store.append_event(event("halt.lifted"))
        await store.commit(first(new_call(4, CallState.DENIED)))
        assert told == [(1, 1), (2, 2), (3, 4)]
        await store.close()

    async def test_refused(self, store: Store) -> None:
        """A change that is refused leaves no gap in the log, alone or among others."""
        call = new_call(1)
        await store.commit(first(call))
        started = following(call, Step.START)
        await asyncio.gather(
            store.commit(started),
            *(store.commit(following(call, Step.START)) for _ in range(3)),
            *(store.commit(first(new_call(n, CallState.DENIED))) for n in range(2, 5)),
            return_exceptions=True,
        )
        found = await store.log_sources(0, 9)
        assert [entry.index for entry in found] == [0, 1, 2, 3]
        assert sorted(entry.kind.value for entry in found) == ["intent", *["receipt"] * 3]

    async def test_batches(self, store: Store) -> None:
        """A batch covers every event since the batch before it, and counts the entries between."""
        assert not await store.close_batch(bytes(16))
        await store.append_event(event("clock.set"))
        await store.commit(first(new_call(1, CallState.DENIED)))
        assert await store.close_batch(bytes(16))
        assert not await store.close_batch(bytes(16))
        await store.append_event(event("halt.lifted"))
        await store.append_event(event("halt.lifted"))
        await store.append_event(event("clock.set"))
        assert await store.close_batch(b"x" * 16)
        found = await store.log_sources(0, 9)
        batches = [entry.batch for entry in found if entry.batch]
        assert [
            ([covered.sequence for covered in batch.events], batch.salt, dict(batch.entries))
            for batch in batches
        ] == [
            ([1, 2, 3], bytes(16), {LeafKind.RECEIPT: 1}),
            ([4, 5, 6], b"x" * 16, {LeafKind.HALT: 2}),
        ]
        assert [entry.kind.value for entry in found] == [
            "receipt",
            "batch",
            "halt",
            "halt",
            "batch",
        ]

    async def test_leaves(self, store: Store) -> None:
        """The bytes of what is no receipt come with the head that covers it, neither less nor more;
        until then readers are given what is before it.
        """
        await store.commit(first(new_call(1, CallState.DENIED)))
        await store.append_event(event("halt.lifted"))
        await store.commit(first(new_call(2, CallState.DENIED)))
        assert len(await store.log_entries(0, 9)) == 1
        for leaves in ({}, {0: b"x"}, {1: b"x", 2: b"x"}):
            with pytest.raises(ValueError, match=r"."):
                await store.advance_log(
                    expected=None, hashes=nodes(3), to=log_head(3), leaves=leaves
                )
        await store.advance_log(expected=None, hashes=nodes(3), to=log_head(3), leaves={1: b"halt"})
        receipts = await store.list_receipts(after=0, limit=9)
        assert await store.log_entries(0, 9) == [
            receipts[0].envelope,
            b"halt",
            receipts[1].envelope,
        ]

    async def test_later_life(self, shelf: Shelf) -> None:
        """A later life finds the log where the former one left it."""
        store = await shelf.open()
        await add_receipts(store, 2)
        await store.advance_log(expected=None, hashes=nodes(2), to=log_head(2), leaves={})
        await store.close()
        store = await shelf.open()
        assert await store.log_head() == log_head(2)
        assert await store.fold_log(lambda read: list(read([Node(1, 0)]))) == [nodes(2)[2]]
        await store.close()


ONE, TWO, THREE = (Sha256(digit * 64) for digit in "123")


def cosignature(witness: Sha256, signature: bytes = b"signed") -> Cosignature:
    """Give what a witness signed, whatever it is."""
    line = NoteSignature(name="witness.test", key_id=b"abcd", signature=signature)
    return Cosignature(witness=witness, signature=line)


async def add_heads(store: Store, *sizes: int) -> None:
    """Sign heads of these sizes."""
    await add_receipts(store, max(sizes))
    before = None
    for size in sizes:
        fresh = nodes(size)[stored_count(before.size if before else 0) :]
        await store.advance_log(expected=before, hashes=fresh, to=log_head(size), leaves={})
        before = log_head(size)


class TestCosignatures:
    async def test_none(self, store: Store) -> None:
        """Where nobody cosigned there is nothing."""
        await add_heads(store, 1)
        assert list(await store.cosignatures(1)) == []
        assert await store.cosigned_size(ONE) == 0
        assert await store.witnessed_head([ONE], 1) is None

    async def test_reads_back(self, store: Store) -> None:
        """Cosignatures are read by their head; a witness's largest size is known."""
        await add_heads(store, 1, 2, 5)
        for size, witness in ((5, TWO), (2, ONE), (5, ONE), (1, TWO)):
            await store.add_cosignature(size, cosignature(witness, b"%d" % size))
        assert list(await store.cosignatures(5)) == [
            cosignature(ONE, b"5"),
            cosignature(TWO, b"5"),
        ]
        assert list(await store.cosignatures(2)) == [cosignature(ONE, b"2")]
        assert [await store.cosigned_size(each) for each in (ONE, TWO, THREE)] == [5, 5, 0]

    async def test_once(self, store: Store) -> None:
        """A key cosigns a head once: the earlier one stays."""
        await add_heads(store, 1)
        await store.add_cosignature(1, cosignature(ONE, b"earlier"))
        await store.add_cosignature(1, cosignature(ONE, b"later"))
        assert list(await store.cosignatures(1)) == [cosignature(ONE, b"earlier")]

    async def test_no_such_head(self, store: Store) -> None:
        """What is no head cannot be cosigned."""
        await add_heads(store, 1, 3)
        with pytest.raises(ValueError, match=r"."):
            await store.add_cosignature(2, cosignature(ONE))
        assert list(await store.cosignatures(2)) == []

    async def test_quorum(self, store: Store) -> None:
        """The latest head that enough of the named keys cosigned is found, never another."""
        await add_heads(store, 1, 2, 3, 4)
        signed = ((1, ONE), (1, TWO), (2, ONE), (2, TWO), (3, ONE), (3, THREE), (4, THREE))
        for size, witness in signed:
            await store.add_cosignature(size, cosignature(witness))
        assert await store.witnessed_head([ONE, TWO], 1) == log_head(3)
        assert await store.witnessed_head([ONE, TWO], 2) == log_head(2)
        assert await store.witnessed_head([ONE, TWO, THREE], 2) == log_head(3)
        assert await store.witnessed_head([ONE, TWO, THREE], 3) is None
        assert await store.witnessed_head([], 1) is None

    async def test_later_life(self, shelf: Shelf) -> None:
        """A later life has what witnesses signed."""
        store = await shelf.open()
        await add_heads(store, 2)
        await store.add_cosignature(2, cosignature(ONE))
        await store.close()
        store = await shelf.open()
        assert list(await store.cosignatures(2)) == [cosignature(ONE)]
        assert await store.cosigned_size(ONE) == 2
        await store.close()
