"""Read, write C2SP signed notes: a text with the signatures of named keys.

Source: https://c2sp.org/signed-note
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from broker.core.strict_base64 import decode_base64
from broker.errors import ReceiptInvalid

ED25519: Final = 0x01
COSIGNATURE_V1: Final = 0x04
KEY_ID_BYTES = 4
_PUBLIC_KEY_BYTES = 32
MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100
_STEP = "note"
_DASH = "\u2014 "


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSignature:
    """One signature line: who says to have signed, by name with key id, not yet verified.

    Args:
        key_id: 4 bytes, see `key_id`.
        signature: What follows the key id; at least one byte.
    """

    name: str
    key_id: bytes
    signature: bytes

    def __post_init__(self) -> None:
        if not is_key_name(self.name):
            raise ReceiptInvalid(_STEP, "a key's name is empty, or has a space or a plus")
        if len(self.key_id) != KEY_ID_BYTES or not self.signature:
            raise ReceiptInvalid(_STEP, "a signature is shorter than 5 bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A text with its signatures.

    Args:
        text: What is signed, its last line end included.
    """

    text: bytes
    signatures: tuple[NoteSignature, ...]


def is_key_name(name: str) -> bool:
    """Tell whether a key can have this name."""
    return bool(name) and "+" not in name and not any(char.isspace() for char in name)


def key_id(name: str, kind: int, public_key: bytes) -> bytes:
    """Give the 4 bytes by which a note names a key.

    Args:
        kind: `ED25519` or `COSIGNATURE_V1`.
        public_key: 32 raw bytes.
    """
    return hashlib.sha256(b"%b\n%c%b" % (name.encode(), kind, public_key)).digest()[:KEY_ID_BYTES]


def verifier_key(name: str, kind: int, public_key: bytes) -> str:
    """Write a key in the form (vkey) that other programs take to verify its notes."""
    encoded = base64.b64encode(bytes([kind]) + public_key).decode()
    return f"{name}+{key_id(name, kind, public_key).hex()}+{encoded}"


def read_verifier_key(text: str, kind: int) -> tuple[str, bytes]:
    """Read the form (vkey) in which an owner of a key tells it; give its name, its 32 raw bytes.

    Args:
        kind: What it must be for, `ED25519` or `COSIGNATURE_V1`.

    Raises:
        ReceiptInvalid: Another form or kind, or its key id is another one's; step `note`.
    """
    name, _, rest = text.partition("+")
    said, _, encoded = rest.partition("+")
    data = decode_base64(encoded, step=_STEP, what="the key")
    if not is_key_name(name) or len(data) != 1 + _PUBLIC_KEY_BYTES or data[0] != kind:
        raise ReceiptInvalid(_STEP, f"not NAME+ID+KEY with an Ed25519 key of type {kind}")
    if said != key_id(name, kind, data[1:]).hex():
        raise ReceiptInvalid(_STEP, "the key's id is not that of its name with its bytes")
    return name, data[1:]


def write_note(note: Note) -> bytes:
    """Write a note.

    Raises:
        ReceiptInvalid: It would not be read again.
    """
    lines = [
        f"{_DASH}{each.name} {base64.b64encode(each.key_id + each.signature).decode()}\n"
        for each in note.signatures
    ]
    written = note.text + b"\n" + "".join(lines).encode()
    read_note(written)
    return written


def read_note(data: bytes) -> Note:
    """Read a note; its signatures are still to be verified.

    Stricter than the specification in one point: base64 has its one canonical form.

    Raises:
        ReceiptInvalid: Not a signed note; step `note`.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise ReceiptInvalid(_STEP, f"longer than {MAX_NOTE_BYTES} bytes")
    try:
        said = data.decode()
    except UnicodeDecodeError as error:
        raise ReceiptInvalid(_STEP, "not UTF-8") from error
    if any(char < " " and char != "\n" for char in said):
        raise ReceiptInvalid(_STEP, "a control character other than the line end")
    # The last empty line parts them: the text may have empty lines of its own.
    text, parted, signed = said.rpartition("\n\n")
    if not parted or not signed.endswith("\n"):
        raise ReceiptInvalid(_STEP, "no empty line with signature lines behind it")
    lines = signed.removesuffix("\n").split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise ReceiptInvalid(_STEP, f"more than {MAX_SIGNATURES} signatures")
    return Note(text=f"{text}\n".encode(), signatures=tuple(map(_read_line, lines)))


def signatures_by(
    signatures: Sequence[NoteSignature], kind: int, public_key: bytes
) -> list[NoteSignature]:
    """Find what a key says to have signed, under whatever name."""
    return [each for each in signatures if each.key_id == key_id(each.name, kind, public_key)]


def _read_line(line: str) -> NoteSignature:
    if not line.startswith(_DASH):
        raise ReceiptInvalid(_STEP, "a signature line does not begin with a dash and a space")
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    data = decode_base64(encoded, step=_STEP, what="a signature")
    return NoteSignature(name=name, key_id=data[:KEY_ID_BYTES], signature=data[KEY_ID_BYTES:])
