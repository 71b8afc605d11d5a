"""Audits, their states, trust roots on what nobody meant: no failure, no false accept.

`SHORT=1` gives each a few seconds, else it is a minute; `SEED=n` repeats a run.
"""

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from broker.cli.chain import envelopes
from broker.core.canonical import canonical_json
from broker.core.checkpoint import split_cosignature
from broker.core.dsse import envelope, pae, read_envelope
from broker.core.merkle import leaf_hash
from broker.core.root_change import refuse_undone
from broker.core.signed_note import COSIGNATURE_V1, read_verifier_key, verifier_key
from broker.core.trust_root import KeyRole, KeyStatus, TrustRoot, read_trust_root, write_trust_root
from broker.errors import BrokerError, CanonicalError, ConfigurationError, ReceiptInvalid
from broker.verify.audit import verify_log
from broker.verify.audit_state import StateUnusable, read_state, write_state
from broker.verify.chain import verify_chain
from broker.verify.log import check_quorum, open_checkpoint, witnesses_of
from broker.verify.log_folder import LogFolder
from broker.verify.trust_root import open_pinned, open_successor, open_trust_root
from broker.verify.verdict import Indeterminate, Validity
from drill.fuzz import Rounds, change, mutated
from tests.verify.log_vectors import Keys, checkpoint_of, cosigned, new_keys, trusted
from tests.verify.mixed_log import MixedLog, ordinary
from tests.verify.receipts import chain, trust
from tests.verify.suite import data, records
from tests.verify.test_audit import write_log

Fields = dict[str, Any]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Give throw-away keys."""
    return new_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def rounds(
    is_short: bool,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> Rounds:
    """Go on until the time is over; tell how often that was."""
    return Rounds.of(1.5 if is_short else 60, request.node.name, record_property)


@pytest.fixture(scope="module")
def root(keys: Keys) -> TrustRoot:
    """Give what readers trust."""
    return TrustRoot(
        version=1,
        keys=(
            trusted(KeyRole.RECEIPT, keys.receipt),
            trusted(KeyRole.LOG, keys.log),
            trusted(KeyRole.WITNESS, keys.witness, name="witness.invalid/1"),
        ),
    )


@pytest.fixture(scope="module")
def log(keys: Keys) -> MixedLog:
    """Give a log of every kind."""
    return ordinary(keys.receipt)


@pytest.mark.timeout(300)
def test_states(log: MixedLog, root: TrustRoot, keys: Keys, rounds: Rounds, seed: int) -> None:
    """A changed state is refused, or read to one that is written as it reads; none fails later."""
    draw, kept, size = random.Random(seed), list[bytes](), 7
    verify_log(checkpoint_of(log.entries[:size], keys.log), log.entries, root, save=kept.append)
    good, head = kept[-1], checkpoint_of(log.entries, keys.log)
    read = 0
    for _ in rounds:
        text = _changed(good, draw) if draw.random() < 0.7 else mutated(good, [good], draw)
        try:
            walk = read_state(text, origin="toolwarrant.invalid/7f3b9c", trust_root=root)
            verdict = verify_log(head, log.entries, root, state=text)
        except StateUnusable:
            continue
        read += 1
        again = write_state(walk, trust_root=root)
        assert write_state(read_state(again, origin=walk.origin, trust_root=root), trust_root=root)
        if verdict.validity is Validity.VALID:
            # Whatever a state says, the tree is the one that is signed.
            assert verdict.entries == len(log.entries), text
    assert read


def _changed(text: bytes, draw: random.Random) -> bytes:
    """Put other values into a JSON text."""
    fields = json.loads(text)
    for _ in range(draw.choice((1, 1, 2))):
        change(fields, draw)
    return json.dumps(fields).encode()


def _roots(check: str) -> list[Mapping[str, Any]]:
    kept = records("trust_roots.json")
    return [each for each in kept if each["check"] == check and each["verdict"] == "valid"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("check", ["opened", "pinned", "following"])
def test_statements(check: str, rounds: Rounds, seed: int) -> None:
    """A changed envelope around a trust root is refused, or carries what its keys signed."""
    draw, taken = random.Random(seed), 0
    found = _roots(f"{check} trust root")
    # What no root key vouches for is as good as whoever hands it over.
    given = [each for each in found if b'"signatures": [{' in data(each["text"])]
    texts = [data(each["text"]) for each in given]
    signed = {read_trust_root(text) for text in texts}
    openers: dict[str, Callable[[bytes, Mapping[str, Any]], TrustRoot]] = {
        "opened": lambda text, _: open_trust_root(text),
        "pinned": lambda text, each: open_pinned(text, each["key_ids"]),
        "following": lambda text, each: open_successor(text, _trust_root(each["trusted"])),
    }
    assert given
    for _ in rounds:
        each = draw.choice(given)
        text = data(each["text"])
        text = _changed(text, draw) if draw.random() < 0.5 else mutated(text, texts, draw)
        try:
            root = openers[check](text, each)
        except ReceiptInvalid:
            continue
        assert root in signed, text
        taken += 1
    assert taken


def _trust_root(fields: object) -> TrustRoot:
    return read_trust_root(json.dumps(fields).encode())


@pytest.mark.timeout(300)
def test_root_changes(rounds: Rounds, seed: int) -> None:
    """Whatever a next version says of keys, none goes, and none counts where it did not."""
    draw = random.Random(seed)
    before = [_trust_root(each["trusted"]) for each in _roots("following trust root")]
    for _ in rounds:
        old = draw.choice(before)
        fields = json.loads(write_trust_root(old))
        for key in fields["keys"]:
            if draw.random() < 0.4:
                name = draw.choice(("valid_from_index", "valid_until_index", "status", "role"))
                key[name] = draw.choice((None, 0, 1, 2, 7, 9, "active", "withdrawn", "log", "root"))
        if draw.random() < 0.2:
            fields["keys"].pop(draw.randrange(len(fields["keys"])))
        try:
            new = _trust_root(fields)
            refuse_undone(old, new)
        except (ReceiptInvalid, ValueError):
            continue
        for key in old.keys:
            later = new.find(key.key_id)
            assert later is not None
            assert later.role is key.role
            assert later.status is KeyStatus.WITHDRAWN or key.status is KeyStatus.ACTIVE
            assert all(key.is_valid_at(at) for at in range(12) if later.is_valid_at(at))


@pytest.mark.timeout(300)
def test_witnessed_heads(
    log: MixedLog, root: TrustRoot, keys: Keys, rounds: Rounds, seed: int
) -> None:
    """A changed head that a witness cosigned is refused, or says what was cosigned."""
    draw = random.Random(seed)
    good = cosigned(checkpoint_of(log.entries, keys.log), keys.witness)
    other = cosigned(checkpoint_of(log.entries[:3], keys.log), keys.witness2)
    checkpoint = open_checkpoint(good, root).checkpoint
    for _ in rounds:
        text = mutated(good, [good, other], draw)
        try:
            signed = open_checkpoint(text, root)
            check_quorum(witnesses_of(signed, root), 1)
        except (ReceiptInvalid, Indeterminate):
            continue
        assert signed.checkpoint == checkpoint, text


@pytest.mark.timeout(300)
def test_signatures_and_keys(keys: Keys, rounds: Rounds, seed: int) -> None:
    """A cosignature, or a verifier key, is read to what writes it again, or refused."""
    draw = random.Random(seed)
    public = trusted(KeyRole.WITNESS, keys.witness).ed25519_key or b""
    vkey = verifier_key("witness.invalid/1", COSIGNATURE_V1, public).encode()
    signature = bytes(8) + keys.witness.sign(b"words")
    for _ in rounds:
        text = mutated(vkey, [vkey], draw)
        try:
            name, key = read_verifier_key(text.decode("utf-8", "replace"), COSIGNATURE_V1)
            assert verifier_key(name, COSIGNATURE_V1, key).encode() == text
        except ReceiptInvalid:
            pass
        sig = mutated(signature, [signature], draw)
        try:
            at, rest = split_cosignature(sig)
            assert at.to_bytes(8) + rest == sig
        except ReceiptInvalid:
            pass


@pytest.mark.timeout(300)
def test_signed_leaves(
    log: MixedLog, root: TrustRoot, keys: Keys, rounds: Rounds, seed: int
) -> None:
    """Whatever a broker's key signed as an entry, an audit comes to a verdict."""
    draw, verdicts = random.Random(seed), set()
    for _ in rounds:
        given = [*log.entries]
        place = draw.randrange(len(given))
        read = read_envelope(given[place])
        said = json.loads(read.payload)
        change(said, draw)
        try:
            payload = canonical_json(said)
        except (CanonicalError, ValueError):
            continue
        signature = keys.receipt.sign(pae(read.payload_type, payload))
        given[place] = envelope(payload, signature, payload_type=read.payload_type)
        head = checkpoint_of(given, keys.log)
        verdicts.add(verify_log(head, given, root, leaves=map(leaf_hash, given)).validity)
    assert Validity.INVALID in verdicts


@pytest.mark.timeout(300)
def test_folders(
    log: MixedLog, root: TrustRoot, keys: Keys, rounds: Rounds, seed: int, tmp_path: Path
) -> None:
    """A log's folder in which a file changed is whole only where what it shows is the same."""
    draw = random.Random(seed)
    write_log(tmp_path, log.entries, checkpoint_of(log.entries, keys.log))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    size = len(log.entries)
    for _ in rounds:
        path = draw.choice(files)
        good = path.read_bytes()
        path.write_bytes(mutated(good, [good], draw))
        folder = LogFolder(tmp_path)
        found = verify_log(
            folder.checkpoint(), folder.entries(size), root, leaves=folder.leaves(size)
        )
        if found.validity is Validity.VALID:
            assert found.signed is not None
            assert found.entries == found.signed.checkpoint.size == size
            assert [*folder.entries(size)] == log.entries
        path.write_bytes(good)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("form", ["folder", "lines"])
def test_exports(keys: Keys, rounds: Rounds, seed: int, tmp_path: Path, form: str) -> None:
    """An export that changed anywhere is refused, or is the same receipts, or fewer at its end."""
    draw, root = random.Random(seed), trust(keys.receipt)
    receipts = chain(keys.receipt)[:4]
    target = tmp_path / ("export.jsonl" if form == "lines" else "export")
    if form == "lines":
        lines = [json.dumps({"receipt": each.decode()}) for each in receipts]
        target.write_text("".join(f"{line}\n" for line in lines))
    else:
        target.mkdir()
        for number, each in enumerate(receipts, start=1):
            (target / f"{number:012}.json").write_bytes(each)
    files = [target] if form == "lines" else sorted(target.iterdir())
    assert verify_chain(envelopes(target), root).validity is Validity.VALID
    for _ in rounds:
        path = draw.choice(files)
        good = path.read_bytes()
        path.write_bytes(mutated(good, [good, *receipts], draw))
        try:
            found = [*envelopes(target)]
            if verify_chain(found, root).validity is Validity.VALID:
                assert found == receipts[: len(found)]
        except (ConfigurationError, BrokerError):
            pass
        path.write_bytes(good)
