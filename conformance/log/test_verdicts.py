"""Hold our log, its proofs and our verdicts on them to the Go checksum database's packages."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from broker.adapters.log_files import ShownLog
from broker.adapters.system import SystemEntropy
from broker.core.checkpoint import Checkpoint, sign_checkpoint
from broker.core.log_proof import read_log_proof
from broker.core.merkle_proof import check_consistency, consistency_proof
from broker.core.signed_note import (
    COSIGNATURE_V1,
    ED25519,
    read_note,
    signatures_by,
    verifier_key,
)
from broker.core.tiles import Tile, tiles_between, write_bundle
from broker.core.trust_root import KeyRole, TrustRoot
from broker.errors import BrokerError, ReceiptInvalid
from broker.log import Log
from broker.verify.log import check_quorum, open_checkpoint, place_in_log
from broker.verify.log_folder import LogFolder
from broker.verify.signature import is_signed
from broker.verify.static_proof import prove
from conformance.tools import ACCEPT, ask, b64
from tests.core import rfc6962
from tests.log.fakes import add_receipts, leaf_of
from tests.ports.fake_clock import FakeClock
from tests.ports.shelf import SqliteShelf
from tests.story.stage import Alarms
from tests.verify.log_vectors import ORIGIN, Keys, all_vectors, new_keys, raw, trusted
from tests.verify.test_static_proof import publish

# Decided by what only our trust root says: bounds and status of keys, of the receipt's own too.
_OURS = (
    "log/checkpoint/from a later size",
    "log/checkpoint/until an earlier size",
    "log/checkpoint/withdrawn",
    "log/validity/",
    "log/witnesses/withdrawn",
    "log/witnesses/until an earlier size",
    "log/witnesses/without a proof",
    # One of our rules: whoever is trusted and signed wrongly spoils the note, asked for or not.
    "log/witnesses/wrong though not asked for",
    # What a receipt says of its place and installation, only we read.
    "log/inclusion/another installation's log",
    "log/inclusion/log of ",
    "log/inclusion/log below another",
    "log/inclusion/of the ",
    # Go's verifiers have a name each, ours are their keys.
    "log/accept/origin that names no installation",
    "log/witnesses/one under two names",
    "log/checkpoint/no log key",
    "log/checkpoint/log key of another kind",
)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Give throw-away keys."""
    return new_keys(tmp_path_factory.mktemp("keys"))


def vkeys(root: TrustRoot, role: KeyRole, names: Sequence[str]) -> list[str]:
    """Write the keys of a role under each of these names."""
    kind = COSIGNATURE_V1 if role is KeyRole.WITNESS else ED25519
    raws = [key.ed25519_key for key in root.of_role(role)]
    return [verifier_key(name, kind, each) for name in names for each in raws if each]


def our_word(entry: bytes, proof: bytes, root: TrustRoot, quorum: int) -> str:
    """Judge a proof as `receipts verify` does."""
    try:
        read = read_log_proof(proof)
        signed = open_checkpoint(read.checkpoint, root)
        check_quorum(place_in_log(entry, read, signed, root).witnesses, quorum)
    except BrokerError:
        return "reject"
    return ACCEPT


def test_proofs(tmp_path: Path) -> None:
    """On every vector that is theirs to judge, their verdict is ours."""
    vectors = [
        vector
        for vector in all_vectors(tmp_path)
        if vector.proof is not None and not vector.name.startswith(_OURS)
    ]
    ours = {v.name: our_word(v.envelope, v.proof or b"", v.trust_root, v.quorum) for v in vectors}
    questions = [
        {
            "check": "proof",
            "proof": b64(vector.proof or b""),
            "entry": b64(vector.envelope),
            "quorum": vector.quorum,
            "keys": vkeys(vector.trust_root, KeyRole.LOG, [ORIGIN]),
            "witnesses": vkeys(vector.trust_root, KeyRole.WITNESS, ["witness.invalid/1"]),
        }
        for vector in vectors
    ]
    assert dict(zip(ours, ask(questions), strict=True)) == ours
    assert sorted(set(ours.values())) == ["accept", "reject"]
    assert len(ours) > 30


def test_notes(keys: Keys) -> None:
    """A note that they refuse we refuse, and the other way round."""
    checkpoint = Checkpoint(origin=ORIGIN, size=1, root=rfc6962.mth([b"entry"]))
    good = sign_checkpoint(checkpoint, raw(keys.log), keys.log.sign)
    line = good.partition(b"\n\n")[2]
    notes = [
        good,
        good.replace(b"\n1\n", b"\n2\n"),
        good[:-1],
        good + b"\n",
        good.replace(b"\n\n", b"\n"),
        good.replace(b"\n\n", b"\n\n\n"),
        good.replace(b"\n\n", b"\n\nmore\n\n"),
        good.replace(b"1", b"1\r"),
        good.replace(b"1", b"1\t"),
        good.replace(b"1", b"1\x00"),
        good.replace(b"1", b"1\xff"),
        good.replace("\u2014".encode(), b"-"),
        good.replace("\u2014 ".encode(), "\u2014".encode()),
        good.replace(b"=", b""),
        good + line.replace(ORIGIN.encode(), b"a+b"),
        good + line.replace(ORIGIN.encode(), b"a\xc2\xa0b"),
        good + line.replace(ORIGIN.encode(), b""),
        good + line.replace(ORIGIN.encode(), b"unknown.invalid"),
        good + "\u2014 a AAAAAQ==\n".encode(),
        good + "\u2014 a AAAAAQE=\n".encode(),
        good + line,
        good + "\u2014 a AAAAAQE=\n".encode() * 99,
        good + "\u2014 a AAAAAQE=\n".encode() * 100,
        b"",
        line,
        b"\n" + line,
    ]
    vkey = verifier_key(ORIGIN, ED25519, raw(keys.log))
    trusted_key = trusted(KeyRole.LOG, keys.log)

    def ours(note: bytes) -> str:
        try:
            read = read_note(note)
        except ReceiptInvalid:
            return "reject"
        found = [
            each
            for each in signatures_by(read.signatures, ED25519, raw(keys.log))
            if each.name == ORIGIN
        ]
        good = [is_signed(trusted_key, read.text, each.signature) for each in found]
        return ACCEPT if good and all(good) else "reject"

    theirs = ask([{"check": "note", "keys": [vkey], "note": b64(n)} for n in notes])
    assert theirs == [ours(note) for note in notes]
    assert theirs.count(ACCEPT) == 5


def test_consistency() -> None:
    """Our proofs that a log only grew are theirs to accept, changed ones to refuse."""
    entries = rfc6962.entries_of(70)
    read = rfc6962.reader(entries)
    questions, ours = [], []
    for first, second in [(1, 1), (1, 2), (3, 7), (4, 7), (6, 8), (64, 70), (65, 70), (70, 70)]:
        proof = consistency_proof(first, second, read)
        roots = rfc6962.mth(entries[:first]), rfc6962.mth(entries[:second])
        forked = rfc6962.mth([*entries[: first - 1], b"another"])
        for hashes, old in [
            (proof, roots[0]),
            (proof, forked),
            ((*proof, bytes(32)), roots[0]),
            (proof[1:], roots[0]) if proof else ((bytes(32),), roots[0]),
            (proof[::-1], roots[0]),
        ]:
            questions.append(
                {
                    "check": "consistency",
                    "first": first,
                    "second": second,
                    "firstRoot": b64(old),
                    "secondRoot": b64(roots[1]),
                    "hashes": [b64(each) for each in hashes],
                }
            )
            try:
                check_consistency(
                    first=first,
                    first_root=old,
                    second=second,
                    second_root=roots[1],
                    proof=hashes,
                )
            except ReceiptInvalid:
                ours.append("reject")
            else:
                ours.append(ACCEPT)
    assert ask(questions) == ours
    assert sorted(set(ours)) == ["accept", "reject"]


@pytest.mark.parametrize("size", [1, 255, 256, 257, 600])
def test_tiles(keys: Keys, tmp_path: Path, size: int) -> None:
    """A folder of our tiles is a log to them; with one bit of an entry changed it is none."""
    entries = rfc6962.entries_of(size)
    read = rfc6962.reader(entries)
    for tile in tiles_between(0, size):
        path = tmp_path / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        own = entries[tile.start : tile.start + tile.width]
        path.write_bytes(write_bundle(own) if tile.level is None else b"".join(read(tile.nodes)))
    checkpoint = Checkpoint(origin=ORIGIN, size=size, root=rfc6962.mth(entries))
    (tmp_path / "checkpoint").write_bytes(sign_checkpoint(checkpoint, raw(keys.log), keys.log.sign))
    question = {
        "check": "tiles",
        "folder": str(tmp_path),
        "keys": [verifier_key(ORIGIN, ED25519, raw(keys.log))],
    }
    assert ask([question]) == [ACCEPT]
    bundle = tmp_path / Tile(level=None, index=0, width=min(size, 256)).path
    data = bundle.read_bytes()
    bundle.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert ask([question]) == ["reject"]


@pytest.mark.parametrize("size", [1, 256, 300, 600])
def test_proofs_from_files(keys: Keys, tmp_path: Path, size: int) -> None:
    """A proof that is made from the files alone is theirs to accept, of another entry to refuse."""
    entries = rfc6962.entries_of(size)
    publish(tmp_path, entries, keys)
    questions, ours = [], []
    for index in sorted({0, size // 2, size - 1}):
        proof = prove(index, LogFolder(tmp_path))
        for entry, word in ((entries[index], ACCEPT), (b"another", "reject")):
            questions.append(
                {
                    "check": "proof",
                    "proof": b64(proof),
                    "entry": b64(entry),
                    "quorum": 0,
                    "keys": [verifier_key(ORIGIN, ED25519, raw(keys.log))],
                }
            )
            ours.append(word)
    assert ask(questions) == ours


async def test_our_folder(keys: Keys, tmp_path: Path) -> None:
    """What our log shows, step by step as it grows, is at each step a whole log to them."""
    store = await SqliteShelf(tmp_path / "store.db").open()
    log = Log(
        store,
        ShownLog(tmp_path / "log"),
        keys.log,
        origin=ORIGIN,
        write=leaf_of,
        clock=FakeClock(),
        entropy=SystemEntropy(),
        telemetry=Alarms(),
    )
    await log.open()
    question = {
        "check": "tiles",
        "folder": str(tmp_path / "log"),
        "keys": [log.verifier_key],
    }
    added = 0
    for count in (0, 1, 254, 2, 300):
        await add_receipts(store, added, count)
        added += count
        await log.catch_up()
        assert ask([question]) == [ACCEPT]
    (receipt,) = await store.list_receipts(after=300, limit=1)
    index, size, proof = await log.inclusion_proof(receipt)
    # Each time but the first a batch came behind the receipts.
    assert (index, size) == (303, added + 4)
    question = {
        "check": "proof",
        "proof": b64(proof),
        "entry": b64(receipt.envelope),
        "keys": [log.verifier_key],
    }
    assert ask([question, question | {"entry": b64(b"another")}]) == [ACCEPT, "reject"]
    await store.close()


def test_two_log_keys(keys: Keys, tmp_path: Path) -> None:
    """A trust root with two log keys takes the checkpoint of either, as they do with two."""
    vector = next(v for v in all_vectors(tmp_path) if v.name == "log/accept/in the log")
    more = trusted(KeyRole.LOG, keys.stranger)
    root = replace(vector.trust_root, keys=(*vector.trust_root.keys, more))
    assert our_word(vector.envelope, vector.proof or b"", root, 0) == ACCEPT
    question = {
        "check": "proof",
        "proof": b64(vector.proof or b""),
        "entry": b64(vector.envelope),
        "keys": vkeys(root, KeyRole.LOG, [ORIGIN]),
    }
    assert ask([question]) == [ACCEPT]
