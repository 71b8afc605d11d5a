"""Make verification vectors of receipts with proofs; as a program, write them anew.

As in `vectors`: each that is to be rejected is one change away from an accepted one.
"""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from broker.core.checkpoint import Checkpoint, cosigned_message, sign_checkpoint
from broker.core.log_proof import LogProof, write_log_proof
from broker.core.merkle_proof import inclusion_proof
from broker.core.signed_note import (
    COSIGNATURE_V1,
    NoteSignature,
    key_id,
    read_note,
    write_note,
)
from broker.core.trust_root import KeyRole, KeyStatus, TrustedKey, TrustRoot
from broker.ports import Signer
from broker.verify.verdict import Validity
from tests.core import rfc6962
from tests.verify.receipts import new_signer, sealed
from tests.verify.vector_file import keep
from tests.verify.vectors import Vector, as_record

FILE = Path(__file__).parent.parent / "vectors/log_proofs.json"
ORIGIN = "toolwarrant.invalid/7f3b9c"
INDEX, SIZE = 4, 7
AT_S = 1_767_268_800
VALID, INVALID, INDETERMINATE = Validity
WITHDRAWN = KeyStatus.WITHDRAWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Who signs."""

    receipt: Signer
    log: Signer
    witness: Signer
    witness2: Signer
    stranger: Signer
    ecdsa: Signer


def new_keys(folder: Path) -> Keys:
    """Make throw-away keys in a folder."""
    names = ("receipt", "log", "witness", "witness2", "stranger")
    made = {name: new_signer(folder / f"log-{name}") for name in names}
    return Keys(ecdsa=new_signer(folder / "log-ecdsa", "ecdsa-p256"), **made)


def raw(signer: Signer) -> bytes:
    """Give an Ed25519 key's 32 bytes."""
    public = TrustedKey.from_pem(KeyRole.LOG, signer.public_key_pem).ed25519_key
    assert public is not None
    return public


def trusted(role: KeyRole, signer: Signer, **changed: object) -> TrustedKey:
    """Trust a key in a role."""
    return replace(TrustedKey.from_pem(role, signer.public_key_pem), **changed)


def checkpoint_of(entries: Sequence[bytes], signer: Signer, origin: str = ORIGIN) -> bytes:
    """Sign the head of a log of these entries."""
    checkpoint = Checkpoint(origin=origin, size=len(entries), root=rfc6962.mth(entries))
    return sign_checkpoint(checkpoint, raw(signer), signer.sign)


def cosigned(note: bytes, *witnesses: Signer, name: str = "witness.invalid/1") -> bytes:
    """Add the cosignatures of witnesses."""
    read = read_note(note)
    lines = [
        NoteSignature(
            name=name,
            key_id=key_id(name, COSIGNATURE_V1, raw(each)),
            signature=AT_S.to_bytes(8) + each.sign(cosigned_message(read.text, AT_S)),
        )
        for each in witnesses
    ]
    return write_note(replace(read, signatures=(*read.signatures, *lines)))


def proof_of(note: bytes, entries: Sequence[bytes], index: int = INDEX) -> bytes:
    """Write the proof of an entry under a checkpoint."""
    hashes = inclusion_proof(index, len(entries), rfc6962.reader(entries))
    return write_log_proof(LogProof(index=index, hashes=hashes, checkpoint=note))


def entries_with(envelope: bytes) -> list[bytes]:
    """Put a receipt into a log at INDEX."""
    entries = rfc6962.entries_of(SIZE)
    entries[INDEX] = envelope
    return entries


def all_vectors(folder: Path) -> list[Vector]:
    """List every vector, made with throw-away keys."""
    keys = new_keys(folder)
    return [
        *_accepted(keys),
        *_texts(keys),
        *_checkpoints(keys),
        *_inclusions(keys),
        *_witnesses(keys),
        *_bounds(keys),
    ]


def _receipt(keys: Keys, sequence: int = INDEX + 1) -> bytes:
    """Make the receipt whose place is INDEX, or another's."""
    return sealed("succeeded", keys.receipt, sequence=sequence)


def _base(keys: Keys, name: str, **changed: object) -> Vector:
    envelope = _receipt(keys)
    entries = entries_with(envelope)
    return replace(
        Vector(
            name=f"log/{name}",
            envelope=envelope,
            trust_root=_root(keys),
            proof=proof_of(checkpoint_of(entries, keys.log), entries),
            validity=VALID,
        ),
        **changed,
    )


def _root(
    keys: Keys,
    *,
    receipt: Mapping[str, object] | None = None,
    log: Mapping[str, object] | None = None,
    witness: Mapping[str, object] | None = None,
) -> TrustRoot:
    return TrustRoot(
        version=1,
        keys=(
            trusted(KeyRole.RECEIPT, keys.receipt, **(receipt or {})),
            trusted(KeyRole.LOG, keys.log, **(log or {})),
            trusted(KeyRole.WITNESS, keys.witness, **(witness or {})),
            trusted(KeyRole.WITNESS, keys.witness2),
        ),
    )


def _reproved(keys: Keys, change: Callable[[bytes], bytes]) -> bytes:
    """Change the checkpoint of the good proof."""
    entries = entries_with(_receipt(keys))
    return proof_of(change(checkpoint_of(entries, keys.log)), entries)


def _under(keys: Keys, origin: str) -> bytes:
    """Prove the entry in the same tree, of a log that the same key signs under another name."""
    entries = entries_with(_receipt(keys))
    return proof_of(checkpoint_of(entries, keys.log, origin), entries)


def _accepted(keys: Keys) -> Iterator[Vector]:
    good = _base(keys, "accept/in the log")
    assert good.proof is not None
    yield good
    yield _base(keys, "accept/extra line", proof=good.proof.replace(b"index", b"extra AA==\nindex"))
    unknown = _reproved(keys, lambda note: cosigned(note, keys.stranger))
    yield _base(keys, "accept/unknown witness", proof=unknown)
    rotated = replace(
        good.trust_root,
        keys=(*good.trust_root.keys, trusted(KeyRole.LOG, keys.stranger, valid_from_index=9)),
    )
    yield _base(keys, "accept/second log key", trust_root=rotated)
    alone = [_receipt(keys, 1)]
    only = proof_of(checkpoint_of(alone, keys.log), alone, 0)
    yield _base(keys, "accept/only entry", envelope=alone[0], proof=only)
    named = sealed("succeeded", keys.receipt, sequence=2, index=INDEX)
    among = entries_with(named)
    proven = proof_of(checkpoint_of(among, keys.log), among)
    yield _base(keys, "accept/among other entries", envelope=named, proof=proven)
    elsewhere = _under(keys, "log.invalid/another")
    yield _base(keys, "accept/origin that names no installation", proof=elsewhere)


def _texts(keys: Keys) -> Iterator[Vector]:
    """Change the proof's file, or its note, in form alone."""
    good = _base(keys, "").proof
    assert good is not None
    for name, step, old, new in [
        ("proof/another version", "proof", b"proof@v1", b"proof@v2"),
        ("proof/no index", "proof", b"index 4\n", b""),
        ("proof/index with a zero", "proof", b"index 4", b"index 04"),
        ("proof/no empty line", "proof", b"\n\ntool", b"\ntool"),
        ("proof/line ends of another system", "proof", b"\n", b"\r\n"),
        ("note/control character", "note", b"invalid/", b"invalid/\r"),
        ("note/no signature", "note", "\u2014".encode(), b""),
        ("checkpoint/size with a zero", "checkpoint", b"\n7\n", b"\n07\n"),
    ]:
        yield _base(keys, name, proof=good.replace(old, new), validity=INVALID, step=step)


def _checkpoints(keys: Keys) -> Iterator[Vector]:
    """Change the checkpoint, or who is trusted with it."""
    entries = entries_with(_receipt(keys))
    other = [*entries[:-1], b"another last entry"]

    def flipped(note: bytes) -> bytes:
        read = read_note(note)
        (line,) = read.signatures
        signature = bytes([line.signature[0] ^ 1]) + line.signature[1:]
        return write_note(replace(read, signatures=(replace(line, signature=signature),)))

    def renamed(note: bytes) -> bytes:
        read = read_note(note)
        (line,) = read.signatures
        name = "other.invalid/log"
        line = replace(line, name=name, key_id=key_id(name, 1, raw(keys.log)))
        return write_note(replace(read, signatures=(line,)))

    root = base64.b64encode(rfc6962.mth(entries))
    forged = base64.b64encode(rfc6962.mth(other))
    for name, change in {
        "bit of the signature": flipped,
        "another root hash": lambda note: note.replace(root, forged),
        "another size": lambda note: note.replace(b"\n7\n", b"\n8\n"),
        "another origin": lambda note: note.replace(ORIGIN.encode(), b"toolwarrant.invalid/other"),
        "signed under another name": renamed,
        "by a stranger": lambda _: checkpoint_of(entries, keys.stranger),
        "by a witness": lambda _: checkpoint_of(entries, keys.witness),
    }.items():
        yield _base(
            keys,
            f"checkpoint/{name}",
            proof=_reproved(keys, change),
            validity=INVALID,
            step="checkpoint",
        )
    receipt_only = TrustRoot(version=1, keys=(trusted(KeyRole.RECEIPT, keys.receipt),))
    ecdsa = replace(receipt_only, keys=(*receipt_only.keys, trusted(KeyRole.LOG, keys.ecdsa)))
    for name, trust_root in [
        ("no log key", receipt_only),
        ("log key of another kind", ecdsa),
        ("from a later size", _root(keys, log={"valid_from_index": SIZE})),
        ("until an earlier size", _root(keys, log={"valid_until_index": SIZE - 1})),
    ]:
        yield _base(
            keys,
            f"checkpoint/{name}",
            trust_root=trust_root,
            validity=INVALID,
            step="checkpoint",
        )
    bounded = _root(keys, log={"valid_from_index": SIZE - 1, "valid_until_index": SIZE})
    yield _base(keys, "accept/log key bounded", trust_root=bounded)
    withdrawn = _root(keys, log={"status": WITHDRAWN, "valid_until_index": SIZE})
    yield _base(
        keys,
        "checkpoint/withdrawn",
        trust_root=withdrawn,
        validity=INDETERMINATE,
        step="checkpoint",
    )


def _inclusions(keys: Keys) -> Iterator[Vector]:
    """Prove another entry, or the entry elsewhere."""
    envelope = _receipt(keys)
    entries = entries_with(envelope)
    note = checkpoint_of(entries, keys.log)
    good = proof_of(note, entries)
    lines = good.split(b"\n")
    # The first hash is the leaf's sibling; its first character carries six of its bits.
    bit = b"\n".join([*lines[:2], bytes([lines[2][0] ^ 1]) + lines[2][1:], *lines[3:]])
    forked = [*entries[:INDEX], b"another", *entries[INDEX + 1 :]]
    for name, proof in {
        "bit of a hash": bit,
        "hash left out": b"\n".join([*lines[:2], *lines[3:]]),
        "hash twice": b"\n".join([*lines[:3], *lines[2:]]),
        "hashes swapped": b"\n".join([*lines[:2], lines[3], lines[2], *lines[4:]]),
        "another index": good.replace(b"index 4", b"index 5"),
        "index beyond the tree": good.replace(b"index 4", b"index 7"),
        "of another entry": proof_of(note, entries, INDEX - 1),
        "of a log without it": proof_of(checkpoint_of(forked, keys.log), forked),
        "of an older tree": proof_of(checkpoint_of(entries[:INDEX], keys.log), entries),
    }.items():
        yield _base(keys, f"inclusion/{name}", proof=proof, validity=INVALID, step="inclusion")
    for name, origin in {
        "another installation's log": "toolwarrant.invalid/another",
        "log of a longer name": f"{ORIGIN}0",
        "log below another": "toolwarrant.invalid/another/7f3b9c",
        "log of nobody": "toolwarrant.invalid/",
    }.items():
        yield _base(
            keys,
            f"inclusion/{name}",
            proof=_under(keys, origin),
            validity=INVALID,
            step="inclusion",
        )
    for name, index in {
        "that names one before": INDEX - 1,
        "that names one behind": INDEX + 1,
    }.items():
        displaced = sealed("succeeded", keys.receipt, sequence=INDEX, index=index)
        entries = entries_with(displaced)
        yield _base(
            keys,
            f"inclusion/{name}",
            envelope=displaced,
            proof=proof_of(checkpoint_of(entries, keys.log), entries),
            validity=INVALID,
            step="inclusion",
        )
    for name, sequence in {
        "of the first sequence": 1,
        "of the sequence before": INDEX,
        "of the sequence behind": INDEX + 2,
    }.items():
        displaced = _receipt(keys, sequence)
        entries = entries_with(displaced)
        yield _base(
            keys,
            f"inclusion/{name}",
            envelope=displaced,
            proof=proof_of(checkpoint_of(entries, keys.log), entries),
            validity=INVALID,
            step="inclusion",
        )


def _witnesses(keys: Keys) -> Iterator[Vector]:
    """Ask for witnesses."""
    one = _reproved(keys, lambda note: cosigned(note, keys.witness))
    two = _reproved(keys, lambda note: cosigned(note, keys.witness, keys.witness2))
    yield _base(keys, "accept/one witness", proof=one, quorum=1)
    yield _base(keys, "accept/two witnesses", proof=two, quorum=2)
    none = _base(keys, "").proof
    assert none is not None

    def flipped(note: bytes) -> bytes:
        read = read_note(cosigned(note, keys.witness))
        line = read.signatures[1]
        later = replace(line, signature=(AT_S + 1).to_bytes(8) + line.signature[8:])
        return write_note(replace(read, signatures=(read.signatures[0], later)))

    def plain(note: bytes) -> bytes:
        read = read_note(note)
        name = "witness.invalid/1"
        line = NoteSignature(
            name=name,
            key_id=key_id(name, 1, raw(keys.witness)),
            signature=keys.witness.sign(read.text),
        )
        return write_note(replace(read, signatures=(*read.signatures, line)))

    def of_another(note: bytes) -> bytes:
        entries = rfc6962.entries_of(SIZE)
        other = read_note(cosigned(checkpoint_of(entries, keys.log), keys.witness))
        read = read_note(note)
        return write_note(replace(read, signatures=(read.signatures[0], other.signatures[1])))

    twice = _reproved(keys, lambda note: cosigned(note, keys.witness, keys.witness))
    renamed = _reproved(
        keys,
        lambda note: cosigned(cosigned(note, keys.witness), keys.witness, name="other.invalid"),
    )
    withdrawn = _root(keys, witness={"status": WITHDRAWN})
    bounded = _root(keys, witness={"valid_until_index": SIZE - 1})
    for name, changed in {
        "none": {"proof": none, "quorum": 1},
        "one of two": {"proof": one, "quorum": 2},
        "one that signed twice": {"proof": twice, "quorum": 2},
        "one under two names": {"proof": renamed, "quorum": 2},
        "a stranger": {
            "proof": _reproved(keys, lambda note: cosigned(note, keys.stranger)),
            "quorum": 1,
        },
        "the log itself": {
            "proof": _reproved(keys, lambda note: cosigned(note, keys.log)),
            "quorum": 1,
        },
        "without a time": {"proof": _reproved(keys, plain), "quorum": 1},
        "at another time": {"proof": _reproved(keys, flipped), "quorum": 1},
        "wrong though not asked for": {"proof": _reproved(keys, flipped)},
        "of another checkpoint": {"proof": _reproved(keys, of_another), "quorum": 1},
        "withdrawn": {"proof": one, "quorum": 1, "trust_root": withdrawn},
        "until an earlier size": {"proof": one, "quorum": 1, "trust_root": bounded},
        "without a proof": {"proof": None, "quorum": 1},
    }.items():
        yield _base(keys, f"witnesses/{name}", validity=INVALID, step="witnesses", **changed)


def _bounds(keys: Keys) -> Iterator[Vector]:
    """Bound the receipt's key: its place in the log decides."""
    for name, changed in {
        "until after it": {"valid_until_index": INDEX + 1},
        "withdrawn after it": {"valid_until_index": INDEX + 1, "status": WITHDRAWN},
        "from it on": {"valid_from_index": INDEX},
    }.items():
        yield _base(keys, f"accept/key {name}", trust_root=_root(keys, receipt=changed))
    for name, changed in {
        "until it": {"valid_until_index": INDEX},
        "withdrawn before it": {"valid_until_index": INDEX, "status": WITHDRAWN},
        "from after it": {"valid_from_index": INDEX + 1},
    }.items():
        yield _base(
            keys,
            f"validity/key {name}",
            trust_root=_root(keys, receipt=changed),
            validity=INVALID,
            step="validity",
        )
    yield _base(
        keys,
        "validity/key withdrawn without an index",
        trust_root=_root(keys, receipt={"status": WITHDRAWN}),
        validity=INDETERMINATE,
        step="validity",
    )


if __name__ == "__main__":
    keep(FILE, lambda folder: [as_record(vector) for vector in all_vectors(folder)])
