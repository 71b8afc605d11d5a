"""Have a log cosigned by witnesses that are honest, lie, hang, forget, are gone."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.adapters.file_signer import FileSigner
from broker.core.log_proof import read_log_proof
from broker.core.signed_note import read_note
from broker.core.trust_root import KeyRole, TrustedKey
from broker.errors import BrokerError, FailedPrecondition, LogForked, ReceiptInvalid, Unavailable
from broker.verify.log import check_quorum, open_checkpoint, place_in_log
from tests.log.fakes import (
    ORIGIN,
    MemoryFiles,
    add_receipts,
    checkpoint_in,
    entries_in,
    without_witnesses,
)
from tests.log.lives import Life, asleep
from tests.log.witness import SIZE, TEXT, HttpWitness, Reply
from tests.ports.fake_clock import FakeClock
from tests.ports.memory_store import Fault
from tests.ports.shelf import MemoryShelf
from tests.verify.receipts import new_signer


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> FileSigner:
    """Give the log's key."""
    return new_signer(tmp_path_factory.mktemp("keys") / "log.key")


@pytest.fixture
def witness(signer: FileSigner) -> Iterator[HttpWitness]:
    """Give a witness that knows the log."""
    with new_witness(signer) as found:
        yield found


@pytest.fixture
def witness2(signer: FileSigner) -> Iterator[HttpWitness]:
    """Give another one."""
    with new_witness(signer, "witness.test/2") as found:
        yield found


def new_witness(signer: FileSigner, name: str = "witness.test/1") -> HttpWitness:
    """Give a witness, not listening yet; its clock is the one that tests begin with."""
    key = TrustedKey.from_pem(KeyRole.LOG, signer.public_key_pem).ed25519_key or b""
    return HttpWitness({ORIGIN: key}, name=name, clock=lambda: FakeClock().now().timestamp())


class TestCosigned:
    async def test_shown_and_proven(self, signer: FileSigner, witness: HttpWitness) -> None:
        """A head is cosigned, shown with it; proofs by it hold for a reader who wants a witness."""
        async with Life(signer, [witness]) as life:
            await life.grow(3)
            plain = life.shown
            assert await life.witnessing.ask() == 3
            assert life.shown.startswith(plain)
            assert life.count(life.shown) == 1
            receipt = await life.receipt(2)
            index, size, proof, is_witnessed = await life.witnessing.inclusion_proof(receipt)
            assert (index, size, is_witnessed, life.reasons) == (1, 3, True, [])
            read, root = read_log_proof(proof), life.trust_root()
            place = place_in_log(
                receipt.envelope, read, open_checkpoint(read.checkpoint, root), root
            )
            check_quorum(place.witnesses, 1)
            with pytest.raises(ReceiptInvalid, match=r"1 witnesses .* not 2"):
                check_quorum(place.witnesses, 2)
            latest = await life.witnessing.latest()
            assert (latest.head.checkpoint, latest.is_witnessed) == (life.shown, True)
            assert life.alarms.lag == ({witness.name: 0}, 0)

    @pytest.mark.parametrize("steps", [(1, 1, 1, 1), (3, 4, 9), (255, 1, 300), (5, 256)])
    async def test_growing(
        self, signer: FileSigner, witness: HttpWitness, steps: Sequence[int]
    ) -> None:
        """From head to head the witness is given the proof that it wants, and asked once."""
        async with Life(signer, [witness]) as life:
            for count in steps:
                await life.grow(count)
                await life.witnessing.ask()
                await life.witnessing.ask()
            assert (witness.codes, life.reasons) == ([200] * len(steps), [])
            assert checkpoint_in(life.shown).size == sum(steps)
            assert life.count(life.shown) == 1

    async def test_two(
        self, signer: FileSigner, witness: HttpWitness, witness2: HttpWitness
    ) -> None:
        """Two witnesses cosign the same head; each key counts once."""
        async with Life(signer, [witness, witness2], quorum=2) as life:
            await life.grow(2)
            await life.witnessing.ask()
            assert life.count(life.shown) == 2
            assert (await life.witnessing.witnessed(1)).head.checkpoint == life.shown

    async def test_empty_log(self, signer: FileSigner, witness: HttpWitness) -> None:
        """Nobody is asked to cosign an empty tree."""
        async with Life(signer, [witness]) as life:
            await life.grow(0)
            assert await life.witnessing.ask() == 0
            assert (witness.questions, checkpoint_in(life.shown).size) == ([], 0)

    async def test_fewer_than_wanted(
        self,
        signer: FileSigner,
        witness: HttpWitness,
        witness2: HttpWitness,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """While one of two is gone the head is shown and proofs wait; they come when it is back."""
        async with Life(signer, [witness, witness2], quorum=2) as life:
            await life.grow(1)
            await life.witnessing.ask()
            await life.grow(1)
            witness2.lie = lambda _, __: (503, TEXT, b"")
            await life.witnessing.ask()
            assert (checkpoint_in(life.shown).size, life.count(life.shown)) == (2, 1)
            assert life.reasons == ["WITNESS_UNAVAILABLE"]
            assert life.alarms.lag == ({witness.name: 0, witness2.name: 1}, 1)
            newest = await life.receipt(2)
            # What the older witnessed head covers is proven by it.
            _, size, _, is_witnessed = await life.witnessing.inclusion_proof(await life.receipt(1))
            assert (size, is_witnessed) == (1, True)
            _, size, _, is_witnessed = await life.witnessing.inclusion_proof(
                newest, unwitnessed=True
            )
            assert (size, is_witnessed) == (2, False)
            with monkeypatch.context() as patched:
                patched.setattr("broker.witnessing._WITNESSED_WITHIN_S", 0.0)
                with pytest.raises(Unavailable) as error:
                    await life.witnessing.inclusion_proof(newest)
                assert error.value.reason == "LOG_NOT_WITNESSED"
            waiting = asyncio.create_task(life.witnessing.inclusion_proof(newest))
            witness2.lie = None
            life.clock.advance(timedelta(seconds=1))
            await life.witnessing.ask()
            _, size, _, is_witnessed = await waiting
            assert (size, is_witnessed, life.count(life.shown)) == (2, True, 2)

    async def test_no_witnesses(self, signer: FileSigner) -> None:
        """A log without witnesses proves as it did; a witnessed head cannot be asked of it."""
        async with Life(signer, [], quorum=0) as life:
            await life.grow(1)
            witnessing = without_witnesses(life.log, life.store)
            receipt = await life.receipt(1)
            *found, is_witnessed = await witnessing.inclusion_proof(receipt)
            assert (tuple(found), is_witnessed) == (await life.log.inclusion_proof(receipt), False)
            latest = await witnessing.latest()
            assert (latest.head, latest.is_witnessed) == (await life.log.head(), False)
            with pytest.raises(FailedPrecondition, match="no witnesses"):
                await witnessing.witnessed()

    async def test_by_whom_nobody_trusts(self, signer: FileSigner, witness: HttpWitness) -> None:
        """A witness is asked for no tree at which readers do not count its key."""
        async with Life(signer, [witness]) as life:
            await life.grow(2)
            (peer,) = life.witnessing._peers
            late = replace(peer.witness, key=replace(peer.witness.key, valid_from_index=2))
            peer.witness = late
            await life.witnessing.ask()
            assert witness.questions == []
            await life.grow(1)
            await life.witnessing.ask()
            assert witness.codes == [200]


class TestApart:
    async def test_hanging(self, signer: FileSigner, witness: HttpWitness) -> None:
        """While a witness hangs the log goes on; the head of then is not shown over a later one."""
        async with Life(signer, [witness]) as life:
            await life.grow(1)
            witness.gate.clear()
            asking = asyncio.create_task(life.witnessing.ask())
            await asyncio.to_thread(witness.asked.wait)
            await life.grow(2)
            assert checkpoint_in(life.shown).size == 3
            witness.gate.set()
            assert await asking == 1
            assert (checkpoint_in(life.shown).size, life.count(life.shown), life.reasons) == (
                3,
                0,
                [],
            )
            assert (await life.witnessing.witnessed()).head.size == 1
            await life.witnessing.ask()
            assert (checkpoint_in(life.shown).size, life.count(life.shown)) == (3, 1)

    async def test_never_answering(self, signer: FileSigner, witness: HttpWitness) -> None:
        """A witness that does not answer is given up, loudly."""
        async with Life(signer, [witness], timeout_s=0.05) as life:
            await life.grow(1)
            witness.gate.clear()
            await life.witnessing.ask()
            assert life.reasons == ["WITNESS_UNREACHABLE"]

    async def test_loop(self, signer: FileSigner, witness: HttpWitness) -> None:
        """Left alone, it has each new head cosigned, and outlives a witness that is down."""
        async with Life(signer, [witness]) as life:
            await life.grow(1)
            running = asyncio.create_task(life.witnessing.run())
            assert (await life.witnessing.witnessed(0)).head.size == 1
            witness.lie = lambda _, __: (500, TEXT, b"")
            await life.grow(1)
            await asleep()
            life.clock.advance(timedelta(seconds=1))
            await life.alarms.alarmed.wait()
            witness.lie = None
            await asleep()
            life.clock.advance(timedelta(seconds=1))
            assert (await life.witnessing.witnessed(1)).head.size == 2
            assert life.reasons == ["WITNESS_UNAVAILABLE"]
            running.cancel()

    async def test_pauses(self, signer: FileSigner, witness: HttpWitness) -> None:
        """A witness that fails is asked after 1, 2, 4 s and so on, at the most each minute."""
        async with Life(signer, [witness]) as life:
            await life.grow(1)
            witness.lie = lambda _, __: (500, TEXT, b"")
            asked_at = []
            for second in range(200):
                before = len(witness.questions)
                await life.witnessing.ask()
                asked_at += [second] * (len(witness.questions) - before)
                life.clock.advance(timedelta(seconds=1))
            assert asked_at == [0, 1, 3, 7, 15, 31, 63, 123, 183]

    async def test_one_beside_another(
        self, signer: FileSigner, witness: HttpWitness, witness2: HttpWitness
    ) -> None:
        """A witness that lies spoils nothing of another's."""
        async with Life(signer, [witness, witness2]) as life:
            await life.grow(1)
            witness.lie = lambda _, __: (200, TEXT, b"nonsense")
            await life.witnessing.ask()
            assert (life.count(life.shown), life.reasons) == (1, ["WITNESS_ANSWER_INVALID"])


Lie = Callable[[HttpWitness, bytes, Reply], Reply]


def text_of(body: bytes) -> bytes:
    """Give the checkpoint's text in a question."""
    return read_note(body.partition(b"\n\n")[2]).text


def by_another(witness: HttpWitness, body: bytes, honest: Reply) -> Reply:
    """Cosign by a key that nobody trusts."""
    other = HttpWitness({}, name=witness.name, key=Ed25519PrivateKey.generate())
    return 200, TEXT, other.cosign(text_of(body))


def of_another(witness: HttpWitness, body: bytes, honest: Reply) -> Reply:
    """Cosign another checkpoint."""
    return 200, TEXT, witness.cosign(text_of(body).replace(b"\n2\n", b"\n1\n"))


def damaged(witness: HttpWitness, body: bytes, honest: Reply) -> Reply:
    """Change one bit of the cosignature."""
    name, _, encoded = honest[2].rstrip(b"\n").rpartition(b" ")
    blob = bytearray(base64.b64decode(encoded))
    blob[-1] ^= 1
    return 200, TEXT, name + b" " + base64.b64encode(bytes(blob)) + b"\n"


def plainly(witness: HttpWitness, body: bytes, honest: Reply) -> Reply:
    """Sign as a log does, without a time."""
    line = witness.cosign(text_of(body))
    name, _, encoded = line.rstrip(b"\n").rpartition(b" ")
    blob = base64.b64decode(encoded)[:4] + witness.key.sign(text_of(body))
    return 200, TEXT, name + b" " + base64.b64encode(blob) + b"\n"


def renamed(witness: HttpWitness, body: bytes, honest: Reply) -> Reply:
    """Sign under another name than the verifier key's."""
    other = HttpWitness({}, name="other.test", key=witness.key, clock=witness.clock)
    return 200, TEXT, other.cosign(text_of(body))


def ahead(seconds: int) -> Lie:
    """Cosign in the future."""

    def lie(witness: HttpWitness, body: bytes, honest: Reply) -> Reply:
        return 200, TEXT, witness.cosign(text_of(body), at_s=witness.clock() + seconds)

    return lie


def says(code: int, kind: str = TEXT, text: bytes = b"") -> Lie:
    """Answer always the same."""
    return lambda witness, body, honest: (code, kind, text)


LIES: dict[str, tuple[Lie, str]] = {
    "nothing": (says(200), "WITNESS_ANSWER_INVALID"),
    "nonsense": (says(200, TEXT, b"\xff\x00"), "WITNESS_ANSWER_INVALID"),
    "no line end": (lambda w, b, h: (200, TEXT, h[2][:-1]), "WITNESS_ANSWER_INVALID"),
    "a text of its own": (
        lambda w, b, h: (200, TEXT, b"more\n\n" + h[2]),
        "WITNESS_ANSWER_INVALID",
    ),
    "too much": (lambda w, b, h: (200, TEXT, h[2] * 200), "WITNESS_ANSWER_INVALID"),
    "another key": (by_another, "WITNESS_KEY_UNKNOWN"),
    "another name": (renamed, "WITNESS_KEY_UNKNOWN"),
    "another checkpoint": (of_another, "WITNESS_SIGNATURE_INVALID"),
    "one bit": (damaged, "WITNESS_SIGNATURE_INVALID"),
    "no time": (plainly, "WITNESS_SIGNATURE_INVALID"),
    "a good one with a bad one": (
        lambda w, b, h: (200, TEXT, h[2] + damaged(w, b, h)[2]),
        "WITNESS_SIGNATURE_INVALID",
    ),
    "in the future": (ahead(61), "WITNESS_TIME_AHEAD"),
    "no size": (says(409, SIZE), "WITNESS_ANSWER_INVALID"),
    "a size of another type": (says(409, TEXT, b"1\n"), "WITNESS_ANSWER_INVALID"),
    "a size below 0": (says(409, SIZE, b"-1\n"), "WITNESS_ANSWER_INVALID"),
    "a size with a zero before it": (says(409, SIZE, b"01\n"), "WITNESS_ANSWER_INVALID"),
    "a size without an end": (says(409, SIZE, b"1"), "WITNESS_ANSWER_INVALID"),
    "the size that was asked": (says(409, SIZE, b"0\n"), "WITNESS_ANSWER_INVALID"),
    "an unknown log": (says(404), "WITNESS_LOG_UNKNOWN"),
    "an unknown log key": (says(403), "WITNESS_KEY_REFUSED"),
    "a refusal": (says(400), "WITNESS_REFUSED"),
    "a proof where none was": (says(422), "WITNESS_REFUSED"),
    "elsewhere": (says(302), "WITNESS_REFUSED"),
    "too often": (says(429), "WITNESS_UNAVAILABLE"),
    "a fault": (says(500), "WITNESS_UNAVAILABLE"),
    "a larger log": (says(409, SIZE, b"3\n"), "LOG_FORK_SUSPECTED"),
}


class TestLies:
    @pytest.mark.parametrize("name", LIES)
    async def test_counts_nothing(
        self, signer: FileSigner, witness: HttpWitness, name: str
    ) -> None:
        """It is alarmed by its own reason, counts nothing; the honest answer after it counts."""
        lie, reason = LIES[name]
        async with Life(signer, [witness]) as life:
            await life.grow(2)
            witness.lie = lambda body, honest: lie(witness, body, honest)
            await life.witnessing.ask()
            # Not asked again: what it says is no reason to go on with it.
            assert (life.reasons, len(witness.questions)) == ([reason], 1)
            assert (life.disk.cosignatures, life.count(life.shown)) == ({}, 0)
            assert life.shown == (await life.log.head()).checkpoint
            witness.lie = None
            life.clock.advance(timedelta(seconds=1))
            await life.witnessing.ask()
            assert (life.count(life.shown), life.reasons) == (1, [reason])

    @pytest.mark.parametrize("seconds", [-10_000, 0, 60])
    async def test_other_clocks(
        self, signer: FileSigner, witness: HttpWitness, seconds: int
    ) -> None:
        """A witness whose clock is somewhat ahead, or late, counts."""
        async with Life(signer, [witness]) as life:
            await life.grow(2)
            witness.lie = lambda body, honest: ahead(seconds)(witness, body, honest)
            await life.witnessing.ask()
            assert (life.count(life.shown), life.reasons) == (1, [])

    async def test_lines_of_strangers(self, signer: FileSigner, witness: HttpWitness) -> None:
        """Signatures of unknown keys beside the witness's are left away."""
        async with Life(signer, [witness]) as life:
            await life.grow(2)
            witness.lie = lambda body, honest: (
                200,
                TEXT,
                by_another(witness, body, honest)[2] + honest[2],
            )
            await life.witnessing.ask()
            assert (life.count(life.shown), life.reasons) == (1, [])
            assert len(read_note(life.shown).signatures) == 2

    async def test_endless_conflict(self, signer: FileSigner, witness: HttpWitness) -> None:
        """A witness that names another size each time is asked twice, then later."""
        async with Life(signer, [witness]) as life:
            await life.grow(9)
            sizes = iter(range(1, 9))
            witness.lie = lambda _, __: (409, SIZE, b"%d\n" % next(sizes))
            await life.witnessing.ask()
            assert (life.reasons, len(witness.questions)) == (["WITNESS_UNSETTLED"], 2)


class TestFork:
    @pytest.fixture
    async def forked(self, signer: FileSigner, witness: HttpWitness) -> AsyncIterator[Life]:
        """Give a log of three entries that the witness knows with another history."""
        async with Life(signer, [witness]) as other:
            # Receipts of other calls: the same name and key, another tree.
            await add_receipts(other.store, 100, 4)
            await other.grow(0)
            await other.witnessing.ask()
            assert other.count(other.shown) == 1
        witness.questions.clear()
        async with Life(signer, [witness]) as life:
            yield life

    @pytest.mark.parametrize(
        ("size", "codes"),
        [(3, [409]), (4, [409, 409]), (6, [409, 422])],
        ids=["smaller", "as large", "larger"],
    )
    async def test_is_told(
        self, forked: Life, witness: HttpWitness, size: int, codes: list[int]
    ) -> None:
        """The witness refuses; that is an alarm of its own, and nothing that is shown counts it."""
        await forked.grow(size)
        witness.codes.clear()
        await forked.witnessing.ask()
        assert (witness.codes, forked.reasons) == (codes, ["LOG_FORK_SUSPECTED"])
        assert forked.alarms.heard == ["THE LOG MAY HAVE FORKED: a witness contradicts it"]
        assert (forked.disk.cosignatures, forked.count(forked.shown)) == ({}, 0)
        proof = await forked.witnessing.inclusion_proof(await forked.receipt(1), unwitnessed=True)
        assert proof[3] is False
        assert forked.count(read_log_proof(proof[2]).checkpoint) == 0

    async def test_as_large_as_the_other(self, signer: FileSigner, witness: HttpWitness) -> None:
        """The same tree at the same size is no fork: its cosignature is given again."""
        shelf, files = MemoryShelf(), MemoryFiles()
        async with Life(signer, [witness], shelf=shelf, files=files) as life:
            await life.grow(4)
            await life.witnessing.ask()
        shelf.disk.cosignatures.clear()
        async with Life(signer, [witness], shelf=shelf, files=files) as life:
            await life.witnessing.ask()
            assert (life.reasons, life.count(life.shown)) == ([], 1)
            assert witness.codes == [200, 409, 200]


class TestLives:
    async def test_later_life(self, signer: FileSigner, witness: HttpWitness) -> None:
        """A later life knows the witnessed head, shows it, goes on from where the witness is."""
        shelf, files = MemoryShelf(), MemoryFiles()
        async with Life(signer, [witness], shelf=shelf, files=files) as life:
            await life.grow(3)
            await life.witnessing.ask()
            shown = life.shown
        async with Life(signer, [witness], shelf=shelf, files=files) as life:
            assert (await life.witnessing.witnessed()).head.checkpoint == shown
            await life.grow(2)
            await life.witnessing.ask()
            assert (witness.codes, life.reasons) == ([200, 200], [])

    async def test_shown_at_start(self, signer: FileSigner, witness: HttpWitness) -> None:
        """A cosignature that was kept but not shown is shown by the next life."""
        shelf, files = MemoryShelf(), MemoryFiles()
        async with Life(signer, [witness], shelf=shelf, files=files) as life:
            await life.grow(1)
            files.faults[files.writes + 1] = Fault.BEFORE
            await life.witnessing.ask()
            assert life.alarms.heard == ["cosignatures cannot be shown"]
            assert life.count(life.shown) == 0
        async with Life(signer, [witness], shelf=shelf, files=files) as life:
            assert (life.count(life.shown), witness.codes) == (1, [200])

    async def test_never_shown(self, signer: FileSigner, witness: HttpWitness) -> None:
        """A head that was cosigned before anybody saw it is shown with that by the next life."""
        shelf = MemoryShelf()
        async with Life(signer, [witness], shelf=shelf) as life:
            await life.grow(3)
            await life.witnessing.ask()
        files = MemoryFiles(has_place=True)
        async with Life(signer, [witness], shelf=shelf, files=files) as life:
            assert (checkpoint_in(life.shown).size, life.count(life.shown)) == (3, 1)
            assert len(entries_in(files.files, 3)) == 3

    async def test_lost_answer(self, signer: FileSigner, witness: HttpWitness) -> None:
        """A cosignature that the record did not take is asked for again."""
        async with Life(signer, [witness]) as life:
            await life.grow(2)
            life.disk.fail_next(Fault.BEFORE)
            await life.witnessing.ask()
            assert life.reasons == ["STORE_UNAVAILABLE"]
            await life.grow(2)
            life.clock.advance(timedelta(seconds=1))
            await life.witnessing.ask()
            assert witness.codes == [200, 409, 200]
            assert (life.count(life.shown), len(life.reasons)) == (1, 1)

    async def test_went_back(self, signer: FileSigner, witness: HttpWitness) -> None:
        """A witness that forgot what it cosigned is an alarm."""
        async with Life(signer, [witness]) as life:
            await life.grow(2)
            await life.witnessing.ask()
            witness.known.clear()
            await life.grow(2)
            await life.witnessing.ask()
            assert life.reasons == ["WITNESS_WENT_BACK"]
            assert (witness.codes, life.count(life.shown)) == ([200, 409, 200], 1)

    @pytest.mark.parametrize(
        "change",
        [
            lambda shown: shown.replace(b"\n2\n", b"\n1\n"),
            lambda shown: shown.replace(b"A", b"B", 1),
            lambda shown: (
                shown[: shown.index(b"\n\n") + 2] + shown[shown.rindex("\u2014".encode()) :]
            ),
        ],
        ids=["size", "a bit", "without the log's own line"],
    )
    async def test_shown_another(
        self, signer: FileSigner, witness: HttpWitness, change: Callable[[bytes], bytes]
    ) -> None:
        """A cosigned checkpoint that the record does not have stops the start, as a plain one."""
        shelf, files = MemoryShelf(), MemoryFiles()
        async with Life(signer, [witness], shelf=shelf, files=files) as life:
            await life.grow(2)
            await life.witnessing.ask()
        files.files["checkpoint"] = change(files.files["checkpoint"])
        with pytest.raises(LogForked):
            async with Life(signer, [witness], shelf=shelf, files=files):
                pass

    async def test_gone_from_the_configuration(
        self, signer: FileSigner, witness: HttpWitness, witness2: HttpWitness
    ) -> None:
        """What a witness cosigned before it was taken out counts no more."""
        shelf, files = MemoryShelf(), MemoryFiles()
        async with Life(signer, [witness], shelf=shelf, files=files) as life:
            await life.grow(2)
            await life.witnessing.ask()
        async with Life(signer, [witness2], shelf=shelf, files=files) as life:
            latest = await life.witnessing.latest()
            assert (latest.is_witnessed, len(read_note(latest.head.checkpoint).signatures)) == (
                False,
                1,
            )


class TestCrash:
    async def grown(self, life: Life) -> None:
        """End five calls, at the most; have a head over two of them cosigned, then over all."""
        for size in (2, 5):
            await life.grow(max(0, size - len(life.disk.receipts)))
            life.clock.advance(timedelta(minutes=1))
            await life.witnessing.ask()

    @pytest.mark.parametrize("fault", Fault)
    @pytest.mark.parametrize("where", ["record", "files"])
    async def test_at_every_write(
        self, signer: FileSigner, witness: HttpWitness, where: str, fault: Fault
    ) -> None:
        """Whatever write is the last of a life, the next one ends with all of it cosigned."""
        shelf, files = MemoryShelf(), MemoryFiles()
        async with Life(signer, [witness], shelf=shelf, files=files) as life:
            await self.grown(life)
            writes = life.disk.writes if where == "record" else files.writes
        assert writes > 5
        for number in range(1, writes + 1):
            witness.known.clear()
            shelf, files = MemoryShelf(), MemoryFiles()
            (shelf.disk if where == "record" else files).faults[number] = fault
            with suppress(BrokerError, OSError):
                async with Life(signer, [witness], shelf=shelf, files=files) as life:
                    await self.grown(life)
            async with Life(signer, [witness], shelf=shelf, files=files) as life:
                await self.grown(life)
                assert (checkpoint_in(life.shown).size, life.count(life.shown)) == (5, 1)
                assert life.reasons == []
