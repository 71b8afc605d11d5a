"""Wrap a payload with its signature in a DSSE v1 envelope.

Source: https://github.com/secure-systems-lab/dsse (protocol.md, envelope.md), narrowed: canonical
JSON, exactly one signature, standard base64, no `keyid` (cosign refuses envelopes that have one).
"""

import base64
import re
from dataclasses import dataclass

from broker.core.canonical import canonical_json
from broker.core.strict_base64 import decode_base64
from broker.core.strict_json import parse_object
from broker.errors import InvalidArgument, ReceiptInvalid

IN_TOTO = "application/vnd.in-toto+json"
MAX_ENVELOPE_BYTES = 65_535
"""What a leaf of a tlog-tiles log can hold: its length is written in 16 bits."""

# What `envelope` writes, parted at its quotes: three values that need no escape stand between.
_FRAME = [b"{", b"payload", b":", b",", b"payloadType", b":", b",", b"signatures", b":[{", b"sig"]
_FRAME += [b":", b"}]}"]
_VALUES = (3, 7, 13)
_PLAIN_TYPE = re.compile(rb"[A-Za-z0-9!#$&^_.+/-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What an envelope carries, unverified."""

    payload_type: str
    payload: bytes
    signature: bytes


def pae(payload_type: str, payload: bytes) -> bytes:
    """Make the bytes that are signed (pre-authentication encoding)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def envelope(payload: bytes, signature: bytes, *, payload_type: str = IN_TOTO) -> bytes:
    """Write an envelope with one signature.

    Raises:
        ValueError: It would not fit into a leaf of the log.
    """
    text = canonical_json(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": payload_type,
            "signatures": [{"sig": base64.b64encode(signature).decode()}],
        }
    )
    if len(text) > MAX_ENVELOPE_BYTES:
        raise ValueError(f"the envelope has {len(text)} bytes, at most {MAX_ENVELOPE_BYTES} fit")
    return text


def read_envelope(text: bytes) -> Envelope:
    """Read an envelope in exactly the form that `envelope` writes.

    Raises:
        ReceiptInvalid: Any other form; step `envelope`.
    """
    plain = _read_plain(text) if len(text) <= MAX_ENVELOPE_BYTES else None
    if plain is not None:
        return plain
    try:
        parsed = parse_object(text, field="envelope", max_bytes=MAX_ENVELOPE_BYTES, max_depth=3)
    except InvalidArgument as error:
        raise ReceiptInvalid("envelope", error.description) from error
    if parsed.canonical != text:
        raise ReceiptInvalid("envelope", "not the canonical form (RFC 8785) of its JSON")
    fields = parsed.value
    if set(fields) != {"payload", "payloadType", "signatures"}:
        raise ReceiptInvalid("envelope", "not exactly payload, payloadType, signatures")
    kind, signatures = fields["payloadType"], fields["signatures"]
    if not isinstance(kind, str):
        raise ReceiptInvalid("envelope", "payloadType is not a string")
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise ReceiptInvalid("envelope", "not exactly one signature")
    if not isinstance(signatures[0], dict) or set(signatures[0]) != {"sig"}:
        raise ReceiptInvalid("envelope", "the signature is not exactly {sig}")
    return Envelope(
        payload_type=kind,
        payload=_decode("payload", fields["payload"]),
        signature=_decode("sig", signatures[0]["sig"]),
    )


def _read_plain(text: bytes) -> Envelope | None:
    """Read an envelope by its look, six times as fast as by parsing.

    Returns None for any other text, of which parsing says what is wrong, if anything is.
    """
    parts = text.split(b'"')
    frame = [part for place, part in enumerate(parts) if place not in _VALUES]
    if frame != _FRAME or not _PLAIN_TYPE.fullmatch(parts[7]):
        return None
    payload, payload_type, signature = (parts[place] for place in _VALUES)
    if not (payload.isascii() and signature.isascii()):
        return None
    return Envelope(
        payload_type=payload_type.decode(),
        payload=_decode("payload", payload.decode()),
        signature=_decode("sig", signature.decode()),
    )


def _decode(name: str, text: object) -> bytes:
    if not isinstance(text, str):
        raise ReceiptInvalid("envelope", f"{name} is not a string")
    data = decode_base64(text, step="envelope", what=name)
    if not data:
        raise ReceiptInvalid("envelope", f"{name} is empty")
    return data
