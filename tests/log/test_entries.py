"""A log of every kind, from the store that records to the audit that reads it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.adapters.log_files import ShownLog
from broker.adapters.sqlite_store import SqliteStore
from broker.adapters.system import SystemEntropy
from broker.core.dsse import read_envelope
from broker.core.ids import sha256_hex
from broker.core.lifecycle import CallState, Step
from broker.core.log_leaf import EventFact, LeafKind, batch_digest
from broker.core.merkle_proof import check_consistency
from broker.core.receipt import FIRST_PREVIOUS, Position, ReceiptDraft, seal
from broker.core.trust_root import KeyRole, TrustRoot
from broker.leaves import Leaves
from broker.log import Log
from broker.ports import Store
from broker.verify.audit import AuditVerdict, verify_log
from broker.verify.log_folder import LogFolder
from broker.verify.receipt import verify_receipt
from broker.verify.verdict import Validity
from tests.log.fakes import checkpoint_in
from tests.log.old_store import make_old_store
from tests.ports.fake_clock import FakeClock
from tests.ports.samples import START, call_id, event, first, following, new_call
from tests.story.stage import Alarms
from tests.verify.log_vectors import Keys, checkpoint_of, new_keys, trusted
from tests.verify.receipts import ENDINGS, ENFORCED, INSTALLATION, position

ORIGIN = f"toolwarrant.invalid/{INSTALLATION}"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Give throw-away keys."""
    return new_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def root(keys: Keys) -> TrustRoot:
    """Give what readers trust."""
    return TrustRoot(
        version=1, keys=(trusted(KeyRole.RECEIPT, keys.receipt), trusted(KeyRole.LOG, keys.log))
    )


def draft_of(keys: Keys, number: int, ending: str) -> ReceiptDraft:
    """Draft the receipt of a call, which begins now where it begins."""
    found = ENDINGS[ending]
    call = replace(found.call, id=call_id(number))
    if call.started_at:
        # The receipt of what the store has: it says of the run what its intent said.
        stored = new_call(number)
        call = replace(
            call,
            started_at=START,
            agent=stored.agent,
            image=stored.image,
            request_sha256=stored.request_sha256,
            evaluations=stored.evaluations,
        )
    return replace(found, call=call).draft(keys.receipt)


async def deny(store: Store, keys: Keys, number: int) -> None:
    """Let a call be denied."""
    draft = draft_of(keys, number, "denied")
    await store.commit(first(new_call(number, CallState.DENIED), receipt=draft))


async def start(store: Store, number: int) -> None:
    """Let a call begin."""
    call = new_call(number)
    await store.commit(first(call))
    began = replace(event(Step.START, call.received_at), data={"sandbox": ENFORCED.facts})
    await store.commit(following(call, Step.START, events=(began,)))


async def end(store: Store, keys: Keys, number: int) -> None:
    """Let a call that runs end."""
    call = await store.get_call(call_id(number))
    assert call is not None
    draft = draft_of(keys, number, "succeeded")
    await store.commit(following(call, Step.SUCCEED, receipt=draft))


class Life:
    """One life of a broker: a store with its log."""

    def __init__(self, store: SqliteStore, log: Log, folder: Path) -> None:
        self.store = store
        self.log = log
        self.folder = folder

    def audit(self, root: TrustRoot, kept: bytes | None = None) -> AuditVerdict:
        """Verify what readers are shown."""
        shown = LogFolder(self.folder)
        checkpoint = shown.checkpoint()
        size = checkpoint_in(checkpoint).size
        return verify_log(
            checkpoint, shown.entries(size), root, leaves=shown.leaves(size), kept=kept
        )


async def begin_life(place: Path, keys: Keys) -> Life:
    """Open a store with its log."""

    def sealed(draft: ReceiptDraft, at: Position) -> bytes:
        return seal(draft, at, keys.receipt.sign)

    store = await SqliteStore.open(place / "store.db", seal=sealed, now=lambda: START)
    alarms = Alarms()
    log = Log(
        store,
        ShownLog(place / "log"),
        keys.log,
        origin=f"toolwarrant.invalid/{store.installation}",
        write=Leaves(
            installation=store.installation,
            key_id=keys.receipt.key_id,
            development=False,
            sign=keys.receipt.sign,
        ).write,
        clock=FakeClock(),
        entropy=SystemEntropy(),
        telemetry=alarms,
    )
    await log.open()
    return Life(store, log, place / "log")


@pytest.fixture
async def life(tmp_path: Path, keys: Keys) -> AsyncIterator[Life]:
    """Give a broker's first life."""
    begun = await begin_life(tmp_path, keys)
    yield begun
    await begun.store.close()


class TestNewLog:
    async def test_every_kind(self, life: Life, keys: Keys, root: TrustRoot) -> None:
        """What a broker records is a log that an audit finds whole, its open call named."""
        store = life.store
        await store.append_event(event("broker.started", bundle="b"))
        await store.append_event(event("key.in_use", role="log", key_id="c" * 64))
        await start(store, 1)
        await life.log.catch_up()
        await start(store, 2)
        await deny(store, keys, 3)
        await end(store, keys, 1)
        await store.append_event(event("hold.voted", verdict="reject", voter="p"))
        await store.append_event(event("halt.lifted", halt="AAAA"))
        await store.append_event(event("clock.set"))
        await life.log.catch_up()
        verdict = life.audit(root)
        assert (verdict.validity, verdict.message) == (
            Validity.VALID,
            "whole: 10 entries, as signed",
        )
        assert dict(verdict.kinds) == {
            "policy": 1,
            "key": 1,
            "intent": 2,
            "receipt": 2,
            "approval": 1,
            "halt": 1,
            "batch": 2,
        }
        assert verdict.open_intents == ((f"calls/{call_id(2)}", 4),)
        assert (verdict.excused, verdict.unbatched) == (0, 0)

    async def test_proofs(self, life: Life, keys: Keys, root: TrustRoot) -> None:
        """A receipt among other entries is proven at the place that it names."""
        for number in range(1, 6):
            await start(life.store, number)
            await deny(life.store, keys, 10 + number)
        await life.log.catch_up()
        for receipt in await life.store.list_receipts(after=0, limit=9):
            index, _, proof = await life.log.inclusion_proof(receipt)
            assert index == 2 * receipt.sequence - 1
            verdict = verify_receipt(receipt.envelope, root, proof=proof)
            assert (verdict.validity, verdict.step) == (Validity.VALID, None)

    async def test_batch_can_be_recomputed(self, life: Life, keys: Keys) -> None:
        """Who has the events with the salt makes the digest that the log has."""
        await deny(life.store, keys, 1)
        await life.log.catch_up()
        (batch,) = [each.batch for each in await life.store.log_sources(1, 1) if each.batch]
        (entry,) = await life.store.log_entries(1, 1)
        facts = [
            EventFact(
                sequence=each.sequence,
                at=each.at,
                epoch=each.epoch,
                type=each.type,
                call=f"calls/{each.call}",
                agent=each.agent,
                data=each.data,
            )
            for each in await life.store.events(after=0, limit=9)
        ]
        assert batch_digest(facts, batch.salt).encode() in read_envelope(entry).payload
        assert batch.salt != bytes(16)

    async def test_later_life(
        self, life: Life, keys: Keys, root: TrustRoot, tmp_path: Path
    ) -> None:
        """A later life covers what the one before it left, and ends its calls."""
        await start(life.store, 1)
        await life.store.close()
        later = await begin_life(tmp_path, keys)
        await later.log.catch_up()
        assert later.audit(root).open_intents == ((f"calls/{call_id(1)}", 0),)
        await end(later.store, keys, 1)
        await later.log.catch_up()
        verdict = later.audit(root)
        assert (verdict.validity, verdict.open_intents) == (Validity.VALID, ())
        await later.store.close()


class TestOldLog:
    """A log that held receipts alone goes on: no head that was ever signed is gone back on."""

    async def test_goes_on(self, tmp_path: Path, keys: Keys, root: TrustRoot) -> None:
        """Old entries stay where they are, receipts that no head covered yet come next, then all
        else; old heads are consistent with new ones, old and new receipts have proofs.
        """
        old, previous = [], FIRST_PREVIOUS
        for sequence, ending in enumerate(["succeeded", "denied", "denied", "denied"], start=1):
            draft = draft_of(keys, sequence, ending)
            old.append(seal(draft, position(sequence, previous), keys.receipt.sign))
            previous = sha256_hex(old[-1])
        heads = [(size, checkpoint_of(old[:size], keys.log, ORIGIN)) for size in (0, 1, 3)]
        make_old_store(tmp_path / "store.db", old, heads, INSTALLATION)
        (tmp_path / "log").mkdir()
        life = await begin_life(tmp_path, keys)
        assert (await life.log.head()).size == 3
        await life.log.catch_up()
        assert (await life.log.head()).size == 4
        assert await life.store.log_entries(0, 9) == old
        kept = life.audit(root)
        assert (kept.validity, kept.kinds, kept.excused) == (Validity.VALID, {"receipt": 4}, 1)

        await life.store.append_event(event("broker.started", bundle="b"))
        await start(life.store, 11)
        await end(life.store, keys, 11)
        await life.log.catch_up()
        verdict = life.audit(root, kept=heads[-1][1])
        assert (verdict.validity, verdict.excused) == (Validity.VALID, 1), verdict.message
        assert [each.kind for each in await life.store.log_sources(3, 9)] == [
            LeafKind.RECEIPT,
            LeafKind.POLICY,
            LeafKind.INTENT,
            LeafKind.RECEIPT,
            LeafKind.BATCH,
        ]
        assert (await life.store.log_entries(0, 9))[:4] == old
        latest = checkpoint_in((await life.log.head()).checkpoint)
        for size, note in heads:
            head = await life.store.log_head(size)
            assert head is not None
            assert head.checkpoint == note
            if size:
                check_consistency(
                    first=size,
                    first_root=checkpoint_in(note).root,
                    second=latest.size,
                    second_root=latest.root,
                    proof=await life.log.consistency_proof(size, latest.size),
                )
        places = []
        for receipt in await life.store.list_receipts(after=0, limit=9):
            index, _, proof = await life.log.inclusion_proof(receipt)
            places.append(index)
            verdict_ = verify_receipt(receipt.envelope, root, proof=proof)
            assert (verdict_.validity, verdict_.step) == (Validity.VALID, None)
        assert places == [0, 1, 2, 3, 6]
        await life.store.close()
