"""Verify that a receipt is in a log.

A checkpoint counts where a log key of the trust root signed it under the origin's name. Keys are
found by their bytes; a witness whom the trust root gives a name counts under that name alone, as in
C2SP's notes, where a name with a key is one signer. A witness counts once, however often it signed.
A withdrawn log key shows nothing, whatever the size: who has it could make another log of any size;
the log's own, under the key in use, still has every old entry.
"""

from dataclasses import dataclass

from broker.core.checkpoint import (
    Checkpoint,
    cosigned_message,
    read_checkpoint,
    split_cosignature,
)
from broker.core.ids import Sha256
from broker.core.log_proof import LogProof
from broker.core.merkle import leaf_hash
from broker.core.merkle_proof import check_inclusion
from broker.core.signed_note import COSIGNATURE_V1, ED25519, Note, read_note, signatures_by
from broker.core.trust_root import KeyRole, KeyStatus, TrustedKey, TrustRoot
from broker.errors import ReceiptInvalid
from broker.verify.signature import is_signed
from broker.verify.verdict import Indeterminate, Logged

_CHECKPOINT = "checkpoint"
_WITNESSES = "witnesses"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheckpoint:
    """A checkpoint that a log key of the trust root signed, with its note."""

    note: Note
    checkpoint: Checkpoint


def open_checkpoint(text: bytes, trust_root: TrustRoot) -> SignedCheckpoint:
    """Read a checkpoint, verify that the log signed it.

    Raises:
        ReceiptInvalid: It has another form, or no log key counts that signed it; steps `note` and
            `checkpoint`.
        Indeterminate: The one that signed it is withdrawn.
    """
    note = read_note(text)
    checkpoint = read_checkpoint(note.text)
    signers = [key for key in trust_root.of_role(KeyRole.LOG) if _is_by_log(key, note, checkpoint)]
    if not signers:
        raise ReceiptInvalid(_CHECKPOINT, "no log key of the trust root signed it as its origin")
    inside = [key for key in signers if counts_at(key, checkpoint)]
    if not inside:
        size = checkpoint.size
        raise ReceiptInvalid(_CHECKPOINT, f"the key that signed it is not valid at size {size}")
    if all(key.status is KeyStatus.WITHDRAWN for key in inside):
        raise Indeterminate(
            _CHECKPOINT,
            "the log key that signed it is withdrawn: get a proof under the key in use now, the "
            "log still has the entry",
        )
    return SignedCheckpoint(note=note, checkpoint=checkpoint)


def place_in_log(
    entry: bytes, proof: LogProof, signed: SignedCheckpoint, trust_root: TrustRoot
) -> Logged:
    """Verify that an entry is in the tree of a checkpoint; count who cosigned it.

    Raises:
        ReceiptInvalid: It is not in it, or a known witness's signature is wrong; steps `inclusion`
            and `witnesses`.
    """
    checkpoint = signed.checkpoint
    check_inclusion(
        index=proof.index,
        size=checkpoint.size,
        leaf=leaf_hash(entry),
        proof=proof.hashes,
        root=checkpoint.root,
    )
    return Logged(
        index=proof.index, checkpoint=checkpoint, witnesses=witnesses_of(signed, trust_root)
    )


def witnesses_of(signed: SignedCheckpoint, trust_root: TrustRoot) -> tuple[Sha256, ...]:
    """List the witnesses of the trust root, still in use, that cosigned a checkpoint.

    Raises:
        ReceiptInvalid: The signature of a known one is wrong; step `witnesses`.
    """
    return tuple(
        key.key_id
        for key in trust_root.of_role(KeyRole.WITNESS)
        if key.status is KeyStatus.ACTIVE
        and counts_at(key, signed.checkpoint)
        and _is_cosigned(key, signed.note)
    )


def check_quorum(witnesses: tuple[Sha256, ...], quorum: int) -> None:
    """Check that enough witnesses cosigned.

    Raises:
        ReceiptInvalid: Fewer did; step `witnesses`.
    """
    if len(witnesses) < quorum:
        raise ReceiptInvalid(
            _WITNESSES, f"{len(witnesses)} witnesses of the trust root cosigned, not {quorum}"
        )


def counts_at(key: TrustedKey, checkpoint: Checkpoint) -> bool:
    """Tell whether a key may sign a tree whose last entry stands at its place."""
    return key.is_valid_at(max(checkpoint.size - 1, 0))


def _is_by_log(key: TrustedKey, note: Note, checkpoint: Checkpoint) -> bool:
    public = key.ed25519_key
    if public is None:
        return False
    named = [each for each in note.signatures if each.name == checkpoint.origin]
    found = signatures_by(named, ED25519, public)
    # A signature that says to be a known key's is good, or the note is not (C2SP signed-note).
    if not all(is_signed(key, note.text, each.signature) for each in found):
        raise ReceiptInvalid(_CHECKPOINT, "the log's signature is wrong")
    return bool(found)


def _is_cosigned(key: TrustedKey, note: Note) -> bool:
    public = key.ed25519_key
    if public is None:
        return False
    named = [each for each in note.signatures if key.name in ("", each.name)]
    found = signatures_by(named, COSIGNATURE_V1, public)
    for each in found:
        timestamp_s, signature = split_cosignature(each.signature)
        if not is_signed(key, cosigned_message(note.text, timestamp_s), signature):
            raise ReceiptInvalid(_WITNESSES, f"the cosignature of {key.key_id} is wrong")
    return bool(found)
