"""The verifier and its parsers on what nobody meant: no failure, no false accept.

`SHORT=1` gives each a few seconds, else it is a minute; `SEED=n` repeats a run.
"""

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from broker.core.canonical import canonical_json
from broker.core.checkpoint import read_checkpoint, write_checkpoint
from broker.core.dsse import IN_TOTO, envelope, pae, read_envelope
from broker.core.log_proof import read_log_proof, write_log_proof
from broker.core.merkle import leaf_hash
from broker.core.merkle_proof import (
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
)
from broker.core.signed_note import read_note, write_note
from broker.core.tiles import read_bundle, read_hashes, write_bundle
from broker.core.trust_root import KeyRole, TrustRoot, read_trust_root, write_trust_root
from broker.errors import CanonicalError, ReceiptInvalid
from broker.verify.audit import verify_log
from broker.verify.receipt import verify_receipt
from broker.verify.verdict import Validity
from drill.fuzz import Rounds, change, mutated
from tests.core import rfc6962
from tests.verify.log_vectors import Keys, checkpoint_of, cosigned, new_keys, trusted
from tests.verify.log_vectors import all_vectors as log_vectors
from tests.verify.receipts import chain, trust
from tests.verify.suite import data, records
from tests.verify.vectors import Vector


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Give throw-away keys."""
    return new_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> list[Vector]:
    """Give accepted receipts with their proofs."""
    made = log_vectors(tmp_path_factory.mktemp("vectors"))
    return [vector for vector in made if vector.validity is Validity.VALID and vector.proof]


@pytest.fixture
def rounds(
    is_short: bool,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> Rounds:
    """Go on until the time is over; tell how often that was."""
    return Rounds.of(3 if is_short else 60, request.node.name, record_property)


def _of(check: str) -> list[bytes]:
    """Give the kept texts of one kind, good and bad."""
    found = [data(each["text"]) for each in records() if each.get("check") == check]
    return [text for text in found if len(text) < 100_000]


ROUND_TRIPS: dict[str, Callable[[bytes], bytes]] = {
    "note": lambda text: write_note(read_note(text)),
    "checkpoint": lambda text: write_checkpoint(read_checkpoint(text)),
    "proof": lambda text: write_log_proof(read_log_proof(text)),
    "envelope": lambda text: _rewritten(text),
    "bundle": lambda text: write_bundle(read_bundle(text, 3)),
    "hashes": lambda text: b"".join(read_hashes(text, 3)),
}


def _rewritten(text: bytes) -> bytes:
    read = read_envelope(text)
    return envelope(read.payload, read.signature, payload_type=read.payload_type)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("check", ROUND_TRIPS)
def test_texts(check: str, rounds: Rounds, seed: int) -> None:
    """What a parser reads is written as it was: two texts never mean one thing; else it refuses."""
    draw, texts, work = random.Random(seed), _of(check), ROUND_TRIPS[check]
    assert texts
    read = 0
    for _ in rounds:
        text = mutated(draw.choice(texts), texts, draw)
        try:
            again = work(text)
        except ReceiptInvalid:
            continue
        assert again == text, text
        read += 1
    assert read


@pytest.mark.timeout(300)
def test_trust_roots(rounds: Rounds, seed: int) -> None:
    """A trust root is read, to one that reads the same again, or refused."""
    draw, texts = random.Random(seed), _of("trust_root")
    for _ in rounds:
        text = mutated(draw.choice(texts), texts, draw)
        try:
            root = read_trust_root(text)
        except ReceiptInvalid:
            continue
        places = [key.valid_from_index for key in root.keys]
        places += [key.valid_until_index or 0 for key in root.keys]
        if max(root.version, *places) < 2**53:
            assert read_trust_root(write_trust_root(root).encode()) == root, text


@pytest.mark.timeout(300)
def test_receipts(logged: list[Vector], rounds: Rounds, seed: int) -> None:
    """No changed receipt is valid; a changed proof shows the same place of it, or nothing."""
    draw = random.Random(seed)
    envelopes = [each.envelope for each in logged]
    proofs = [each.proof or b"" for each in logged]
    for _ in rounds:
        vector = draw.choice(logged)
        text, proof = vector.envelope, vector.proof or b""
        if draw.random() < 0.5:
            text = mutated(text, envelopes, draw)
        else:
            proof = mutated(proof, proofs, draw)
        good = verify_receipt(vector.envelope, vector.trust_root, proof=vector.proof)
        found = verify_receipt(text, vector.trust_root, proof=proof, quorum=vector.quorum)
        if found.validity is Validity.VALID:
            assert text == vector.envelope, text
            assert found.logged is not None
            assert good.logged is not None
            assert _place(found.logged) == _place(good.logged), proof


def _place(logged: Any) -> tuple[object, ...]:
    """Give what a reader may rely on: cosignatures come and go with a proof."""
    return logged.index, logged.checkpoint


@pytest.mark.timeout(300)
def test_signed_nonsense(keys: Keys, logged: list[Vector], rounds: Rounds, seed: int) -> None:
    """Whatever a trusted key signed, the verifier comes to a verdict."""
    draw = random.Random(seed)
    signer, root = keys.receipt, trust(keys.receipt)
    statements = [json.loads(read_envelope(each.envelope).payload) for each in logged]
    verdicts = set()
    for _ in rounds:
        said = copy.deepcopy(draw.choice(statements))
        said["predicate"]["key_id"] = signer.key_id
        for _ in range(draw.choice((0, 1, 1, 2))):
            change(said, draw)
        try:
            payload = canonical_json(said)
            text = envelope(payload, signer.sign(pae(IN_TOTO, payload)))
        except (CanonicalError, ValueError):
            continue
        verdicts.add(verify_receipt(text, root).validity)
    assert verdicts == {Validity.VALID, Validity.INVALID}


@pytest.mark.timeout(300)
def test_logs(keys: Keys, rounds: Rounds, seed: int) -> None:
    """A log is whole only as it was signed, whatever comes of its head, entries and leaves."""
    draw = random.Random(seed)
    entries = chain(keys.receipt)[:6]
    head = cosigned(checkpoint_of(entries, keys.log), keys.witness)
    root = TrustRoot(
        version=1,
        keys=(
            *trust(keys.receipt).keys,
            trusted(KeyRole.LOG, keys.log),
            trusted(KeyRole.WITNESS, keys.witness),
        ),
    )
    for _ in rounds:
        given, leaves, signed = [*entries], [leaf_hash(each) for each in entries], head
        match draw.randrange(4):
            case 0:
                place = draw.randrange(len(given))
                given[place] = mutated(given[place], given, draw)
            case 1:
                draw.shuffle(given)
            case 2:
                place = draw.randrange(len(leaves))
                leaves[place] = mutated(leaves[place], leaves, draw)
            case _:
                signed = mutated(signed, [head], draw)
        found = verify_log(signed, given, root, leaves=leaves)
        if found.validity is Validity.VALID:
            assert found.signed is not None
            assert given == entries
            assert leaves == [leaf_hash(each) for each in entries]
            assert found.signed.checkpoint == verify_log(head, entries, root).signed.checkpoint


@pytest.mark.timeout(300)
def test_proofs(rounds: Rounds, seed: int) -> None:
    """A changed inclusion or consistency proof shows nothing."""
    draw = random.Random(seed)
    entries = rfc6962.entries_of(40)
    read = rfc6962.reader(entries)
    roots = [rfc6962.mth(entries[:size]) for size in range(41)]
    for _ in rounds:
        size = draw.randint(1, 40)
        index, first = draw.randrange(size), draw.randint(1, size)
        good, grown = inclusion_proof(index, size, read), consistency_proof(first, size, read)
        place = index if draw.random() < 0.7 else draw.randint(-1, size)
        hashes = _hashes(good, draw)
        if _stands(
            lambda place=place, size=size, index=index, hashes=hashes: check_inclusion(
                index=place,
                size=size,
                leaf=leaf_hash(entries[index]),
                proof=hashes,
                root=roots[size],
            )
        ):
            assert (place, hashes) == (index, good)
        changed = _hashes(grown, draw)
        if _stands(
            lambda first=first, size=size, changed=changed: check_consistency(
                first=first,
                first_root=roots[first],
                second=size,
                second_root=roots[size],
                proof=changed,
            )
        ):
            assert changed == grown


def _stands(work: Callable[[], None]) -> bool:
    try:
        work()
    except ReceiptInvalid:
        return False
    return True


def _hashes(hashes: tuple[bytes, ...], draw: random.Random) -> tuple[bytes, ...]:
    changed = list(hashes)
    match draw.randrange(5):
        case 0 if changed:
            place = draw.randrange(len(changed))
            changed[place] = mutated(changed[place], [b"\x00" * 32], draw)
        case 1 if changed:
            del changed[draw.randrange(len(changed))]
        case 2:
            changed.insert(draw.randrange(len(changed) + 1), bytes(32))
        case 3:
            draw.shuffle(changed)
    return tuple(changed)
