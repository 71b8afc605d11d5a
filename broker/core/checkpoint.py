"""Say in a note's text how far a log has come.

Source: https://c2sp.org/tlog-checkpoint, https://c2sp.org/tlog-cosignature
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass

from broker.core.merkle import HASH_BYTES
from broker.core.signed_note import (
    ED25519,
    Note,
    NoteSignature,
    is_key_name,
    key_id,
    write_note,
)
from broker.core.strict_base64 import decode_base64
from broker.errors import ReceiptInvalid

MAX_SIZE = 2**63 - 1
_STEP = "checkpoint"
_TIMESTAMP_BYTES = 8
_SIGNATURE_BYTES = 64
# Nobody else's log is named so: RFC 6761 keeps `.invalid` free.
_BROKERS = "toolwarrant.invalid/"


def log_origin(installation: str) -> str:
    """Name the log of a store."""
    return f"{_BROKERS}{installation}"


def is_another_log(origin: str, installation: str) -> bool:
    """Tell whether an origin names another store's log than this one's.

    An origin of any other form names no store, so it is nobody's.
    """
    return origin.startswith(_BROKERS) and origin != log_origin(installation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The head of a log at one size.

    Args:
        origin: The log's name, and its key's: narrower than the specification, which lets it be
            any line.
        size: How many entries there are.
        root: 32 bytes.
        extensions: Further lines; we write none, and read nothing into them.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not is_key_name(self.origin):
            raise ReceiptInvalid(_STEP, "the origin is empty, or has a space or a plus")
        if not 0 <= self.size <= MAX_SIZE:
            raise ReceiptInvalid(_STEP, "the tree size is out of range")
        if len(self.root) != HASH_BYTES:
            raise ReceiptInvalid(_STEP, f"the root hash has not {HASH_BYTES} bytes")
        if "" in self.extensions:
            raise ReceiptInvalid(_STEP, "an extension line is empty")


def write_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Write a checkpoint as the text of a note."""
    root = base64.b64encode(checkpoint.root).decode()
    lines = (checkpoint.origin, str(checkpoint.size), root, *checkpoint.extensions)
    return "".join(f"{line}\n" for line in lines).encode()


def read_checkpoint(text: bytes) -> Checkpoint:
    """Read a checkpoint from the text of a note, whose signatures are the caller's to check.

    Raises:
        ReceiptInvalid: Any other text; step `checkpoint`.
    """
    try:
        lines = text.decode().split("\n")
    except UnicodeDecodeError as error:
        raise ReceiptInvalid(_STEP, "not UTF-8") from error
    if len(lines) < 4 or lines.pop() != "":
        raise ReceiptInvalid(_STEP, "not origin, size, root hash, a line each")
    origin, size, root, *extensions = lines
    return Checkpoint(
        origin=origin,
        size=read_number(size, step=_STEP, what="the tree size"),
        root=decode_base64(root, step=_STEP, what="the root hash"),
        extensions=tuple(extensions),
    )


def sign_checkpoint(
    checkpoint: Checkpoint, public_key: bytes, sign: Callable[[bytes], bytes]
) -> bytes:
    """Write a checkpoint as a note that its log signed; the same one has the same bytes.

    Args:
        public_key: 32 raw bytes of the log's Ed25519 key.
        sign: Signs with that key.
    """
    text = write_checkpoint(checkpoint)
    signature = NoteSignature(
        name=checkpoint.origin,
        key_id=key_id(checkpoint.origin, ED25519, public_key),
        signature=sign(text),
    )
    return write_note(Note(text=text, signatures=(signature,)))


def read_number(text: str, *, step: str, what: str) -> int:
    """Read a number up to 2**63 - 1, written in digits without leading zeros.

    Raises:
        ReceiptInvalid: Any other text.
    """
    is_plain = text.isascii() and text.isdigit() and (text == "0" or not text.startswith("0"))
    if not is_plain or len(text) > 19 or int(text) > MAX_SIZE:
        raise ReceiptInvalid(step, f"{what} is not a plain number")
    return int(text)


def cosigned_message(text: bytes, timestamp_s: int) -> bytes:
    """Give the bytes that a witness signs (cosignature/v1).

    Args:
        text: Of the note, its last line end included.
        timestamp_s: Seconds since 1970 UTC.
    """
    return b"cosignature/v1\ntime %d\n%b" % (timestamp_s, text)


def split_cosignature(signature: bytes) -> tuple[int, bytes]:
    """Part a witness's signature into its time, in seconds since 1970 UTC, with the Ed25519 one.

    Raises:
        ReceiptInvalid: It has another length, or a time beyond 63 bits; step `witnesses`.
    """
    timestamp_s = int.from_bytes(signature[:_TIMESTAMP_BYTES])
    if len(signature) != _TIMESTAMP_BYTES + _SIGNATURE_BYTES or timestamp_s > MAX_SIZE:
        raise ReceiptInvalid("witnesses", "a cosignature is not a time with 64 bytes")
    return timestamp_s, signature[_TIMESTAMP_BYTES:]
