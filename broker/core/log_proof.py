"""Read, write files that prove offline that an entry is in a log.

Source: https://c2sp.org/tlog-proof
"""

import base64
from dataclasses import dataclass

from broker.core.checkpoint import MAX_SIZE, read_number
from broker.core.merkle import HASH_BYTES
from broker.core.signed_note import MAX_NOTE_BYTES
from broker.core.strict_base64 import decode_base64
from broker.errors import ReceiptInvalid

_STEP = "proof"
_HEADER = "c2sp.org/tlog-proof@v1"
_EXTRA = "extra "
_INDEX = "index "
_REMEDY = (
    "a proof is what `toolwarrant receipts get CALL --proof-out FILE` writes: a line "
    f"{_HEADER}, an index, hashes, an empty line, a checkpoint"
)
_MOST_HASHES = 63
MAX_PROOF_BYTES = 2 * MAX_NOTE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class LogProof:
    """What shows that an entry is in a log.

    Args:
        index: Of the entry, from 0.
        hashes: The inclusion proof, the leaf's sibling first.
        checkpoint: The signed note, byte for byte.
        extra: Opaque, vouched for by nobody; None where the file has no such line.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.index <= MAX_SIZE:
            raise ReceiptInvalid(_STEP, "the index is out of range")
        if any(len(each) != HASH_BYTES for each in self.hashes):
            raise ReceiptInvalid(_STEP, f"a hash has not {HASH_BYTES} bytes")
        if len(self.hashes) > _MOST_HASHES:
            raise ReceiptInvalid(_STEP, "more hashes than any tree has levels")


def write_log_proof(proof: LogProof) -> bytes:
    """Write a proof's file."""
    lines = [_HEADER]
    if proof.extra is not None:
        lines.append(f"{_EXTRA}{base64.b64encode(proof.extra).decode()}")
    lines.append(f"{_INDEX}{proof.index}")
    lines += [base64.b64encode(each).decode() for each in proof.hashes]
    return "".join(f"{line}\n" for line in lines).encode() + b"\n" + proof.checkpoint


def read_log_proof(data: bytes) -> LogProof:
    """Read a proof's file; the checkpoint in it is the caller's to read.

    Raises:
        ReceiptInvalid: Not such a file; step `proof`.
    """
    if len(data) > MAX_PROOF_BYTES:
        raise ReceiptInvalid(_STEP, f"longer than {MAX_PROOF_BYTES} bytes")
    # The first empty line ends the proof: none of its own lines is empty.
    head, parted, checkpoint = data.partition(b"\n\n")
    if not parted or not head.isascii():
        raise ReceiptInvalid(_STEP, f"this file is no proof; {_REMEDY}")
    header, *lines = head.decode().split("\n")
    if header != _HEADER:
        raise ReceiptInvalid(_STEP, f"this file does not begin as one; {_REMEDY}")
    extra = None
    if lines and lines[0].startswith(_EXTRA):
        said = lines.pop(0).removeprefix(_EXTRA)
        extra = decode_base64(said, step=_STEP, what="the extra line")
    if not lines or not lines[0].startswith(_INDEX):
        raise ReceiptInvalid(_STEP, "it has no index line")
    index = read_number(lines.pop(0).removeprefix(_INDEX), step=_STEP, what="the index")
    hashes = tuple(decode_base64(line, step=_STEP, what="a hash") for line in lines)
    return LogProof(index=index, hashes=hashes, checkpoint=checkpoint, extra=extra)
