"""Speak with witnesses of the log: what one is asked, what its answer is worth.

An answer is a stranger's word. What counts of it is a signature by the key that the trust root
names, over the very checkpoint that was asked for; all else is an error of its own kind, so that an
operator can tell a witness that is down from one that saw another log.

Source: https://c2sp.org/tlog-witness, https://c2sp.org/tlog-cosignature
"""

import base64
from collections.abc import Iterable
from dataclasses import dataclass, replace

from broker.core.checkpoint import cosigned_message, read_number, split_cosignature
from broker.core.ids import Sha256
from broker.core.signed_note import (
    COSIGNATURE_V1,
    NoteSignature,
    read_note,
    signatures_by,
    write_note,
)
from broker.core.trust_root import IsSigned, KeyRole, TrustedKey
from broker.errors import LogForkSuspected, ReceiptInvalid, WitnessError

MAX_ANSWER_BYTES = 16 * 1024
MAX_WITNESSES = 32
_SIZE_TYPE = "text/x.tlog.size"
# How far a witness's clock may be ahead of ours.
_AHEAD_S = 60
_OK, _FORBIDDEN, _UNKNOWN, _CONFLICT, _UNPROVEN = 200, 403, 404, 409, 422
_TOO_MANY, _SERVERS_OWN = 429, 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """Whom the log asks for cosignatures.

    Args:
        name: What the operator calls it.
        key: Of role witness, Ed25519.
        signs_as: The name that its signatures have; None where only the key is known.
    """

    name: str
    key: TrustedKey
    signs_as: str | None = None

    def __post_init__(self) -> None:
        if self.key.role is not KeyRole.WITNESS or self.key.ed25519_key is None:
            raise ValueError("a witness cosigns with an Ed25519 key of role witness")

    def counts_at(self, size: int) -> bool:
        """Tell whether readers count its key for a tree of this size."""
        return self.key.is_valid_at(max(size - 1, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a witness is asked to cosign.

    Args:
        old: The size that it cosigned before; 0 where it never did.
        proof: That the tree grew from there; empty from size 0, and at the same size.
        size: Of the checkpoint.
        checkpoint: The signed note, byte for byte.
    """

    old: int
    proof: tuple[bytes, ...]
    size: int
    checkpoint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back over HTTP, not yet believed.

    Args:
        body: At most `MAX_ANSWER_BYTES`.
    """

    code: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosignature:
    """A verified signature of a witness under one checkpoint.

    Args:
        witness: Key id of its key in the trust root.
    """

    witness: Sha256
    signature: NoteSignature


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherSize:
    """The witness stands at another size than was supposed: ask again from there."""

    size: int


def write_question(question: Question) -> bytes:
    """Write the body of `add-checkpoint`."""
    hashes = [base64.b64encode(each).decode() for each in question.proof]
    lines = [f"old {question.old}", *hashes, ""]
    return "".join(f"{line}\n" for line in lines).encode() + question.checkpoint


def judge(
    witness: Witness, question: Question, answer: Answer, *, now_s: float, is_signed: IsSigned
) -> Cosignature | OtherSize:
    """Tell what an answer is worth.

    Args:
        now_s: Seconds since 1970 UTC.

    Raises:
        LogForkSuspected: It says that it saw this log longer, or with another history.
        WitnessError: It gives nothing that counts.
    """
    if answer.code == _OK:
        return _cosignature(witness, question, answer.body, now_s, is_signed)
    if answer.code == _CONFLICT:
        return _other_size(witness, question, answer)
    if answer.code == _UNPROVEN and question.old:
        raise LogForkSuspected(
            witness.name,
            f"refuses that the log grew from the {question.old} entries that it cosigned to "
            f"{question.size}: it was shown another history under this log's name and key. Ask it "
            "for what it holds, keep this store, find out who else has the log's key",
        )
    raise _refused(witness.name, answer.code)


def with_cosignatures(checkpoint: bytes, cosignatures: Iterable[Cosignature]) -> bytes:
    """Write a log's checkpoint with cosignatures under its own signature."""
    note = read_note(checkpoint)
    more = tuple(each.signature for each in cosignatures)
    return write_note(replace(note, signatures=note.signatures + more))


def _cosignature(
    witness: Witness, question: Question, body: bytes, now_s: float, is_signed: IsSigned
) -> Cosignature:
    text = read_note(question.checkpoint).text
    try:
        said = read_note(text + b"\n" + body)
        # Lines that began with an empty one would make another text of what was asked.
        if said.text != text:
            raise ReceiptInvalid("note", "more than signature lines")
    except ReceiptInvalid as error:
        raise WitnessError(witness.name, f"answers no signature lines: {error}") from error
    found = [
        each
        for each in signatures_by(said.signatures, COSIGNATURE_V1, witness.key.ed25519_key or b"")
        if witness.signs_as in (None, each.name)
    ]
    if not found:
        raise WitnessError(
            witness.name,
            f"signs with another key than {witness.key.key_id}, or under another name: compare "
            "its verifier key with the configuration and the trust root",
            reason="WITNESS_KEY_UNKNOWN",
        )
    for each in found:
        _check(witness, text, each, now_s, is_signed)
    return Cosignature(witness=witness.key.key_id, signature=found[0])


def _check(
    witness: Witness, text: bytes, found: NoteSignature, now_s: float, is_signed: IsSigned
) -> None:
    try:
        timestamp_s, signature = split_cosignature(found.signature)
    except ReceiptInvalid as error:
        raise WitnessError(
            witness.name, f"gives a broken cosignature: {error}", reason="WITNESS_SIGNATURE_INVALID"
        ) from error
    if not is_signed(witness.key, cosigned_message(text, timestamp_s), signature):
        raise WitnessError(
            witness.name,
            "gives a cosignature that is wrong, or of another checkpoint than was asked for",
            reason="WITNESS_SIGNATURE_INVALID",
        )
    if timestamp_s > now_s + _AHEAD_S:
        raise WitnessError(
            witness.name,
            f"cosigns {timestamp_s - now_s:.0f} s in the future: compare its clock with this "
            "machine's",
            reason="WITNESS_TIME_AHEAD",
        )


def _other_size(witness: Witness, question: Question, answer: Answer) -> OtherSize:
    try:
        if answer.content_type.partition(";")[0].strip().lower() != _SIZE_TYPE:
            raise ReceiptInvalid("size", f"its type is not {_SIZE_TYPE}")
        text = answer.body.decode("ascii", "replace")
        if not text.endswith("\n"):
            raise ReceiptInvalid("size", "it does not end with a line end")
        size = read_number(text[:-1], step="size", what="it")
    except ReceiptInvalid as error:
        raise WitnessError(
            witness.name, f"is at another size, but does not say at which: {error}"
        ) from error
    if size > question.size:
        raise LogForkSuspected(
            witness.name,
            f"cosigned {size} entries of this log, which has {question.size}: somebody else has "
            "the log's key, or this store is an older copy. Keep it, ask the witness for what it "
            "holds, put the right store back",
        )
    if size == question.old == question.size:
        raise LogForkSuspected(
            witness.name,
            f"cosigned another tree of {size} entries under this log's name and key. Ask it for "
            "what it holds, keep this store, find out who else has the log's key",
        )
    if size == question.old:
        raise WitnessError(witness.name, f"denies to be at size {size}, then says that it is")
    return OtherSize(size=size)


def _refused(witness: str, code: int) -> WitnessError:
    if code == _UNKNOWN:
        said = "does not know this log: give its operator the log's verifier key"
        return WitnessError(witness, said, reason="WITNESS_LOG_UNKNOWN")
    if code == _FORBIDDEN:
        said = "does not trust the log's key: give its operator the log's verifier key"
        return WitnessError(witness, said, reason="WITNESS_KEY_REFUSED")
    if code == _TOO_MANY or code >= _SERVERS_OWN:
        said = f"cannot answer now (HTTP {code}): it is asked again"
        return WitnessError(witness, said, reason="WITNESS_UNAVAILABLE")
    said = f"refuses what it is asked (HTTP {code}): is the URL that of a witness?"
    return WitnessError(witness, said, reason="WITNESS_REFUSED")
