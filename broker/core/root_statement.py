"""Carry a trust root as the payload of a DSSE envelope that root keys sign.

Theory of operation, after the root role of The Update Framework. A statement counts by itself where
a threshold of the root keys that it names signed it: that shows it whole, not whose it is. Whose it
is comes from outside: a reader who got a version by a way that they trust follows it to later ones.
Each next version is one higher, and as many root keys of the version before as that one demanded
signed it, besides its own: so who loses fewer root keys than the threshold loses nothing, and who
takes over the file of a reader cannot take that reader back to an older version.

Nothing here reads a file or verifies a signature by itself: bytes come in, values or errors go out.

Source: DSSE v1; TUF specification 1.0.33, 5.3 (update the root role)
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from broker.core.canonical import JsonObject, JsonValue
from broker.core.dsse import pae
from broker.core.ids import Sha256
from broker.core.root_change import refuse_undone
from broker.core.strict_base64 import decode_base64
from broker.core.strict_json import parse_object
from broker.core.trust_root import (
    MAX_TRUST_ROOT_BYTES,
    IsSigned,
    KeyRole,
    TrustedKey,
    TrustRoot,
    is_signed_trust_root,
    read_trust_root,
    write_trust_root,
)
from broker.errors import InvalidArgument, ReceiptInvalid

PAYLOAD_TYPE = "application/vnd.toolwarrant.trust-root+json"
MAX_SIGNATURES = 64
_STEP = "trust_root"


@dataclass(frozen=True, slots=True, kw_only=True)
class RootStatement:
    """An envelope around a trust root, its signatures unverified.

    Args:
        payload: The trust root's exact bytes.
        root: What they say.
        signatures: Nobody's name goes with them: a name in an envelope is not signed.
    """

    payload_type: str
    payload: bytes
    root: TrustRoot
    signatures: tuple[bytes, ...]

    @property
    def message(self) -> bytes:
        """Give the bytes that root keys sign."""
        return pae(self.payload_type, self.payload)


def statement_of(root: TrustRoot) -> RootStatement:
    """Make the statement that is to be signed.

    Raises:
        ReceiptInvalid: It does not say how many of its root keys have to.
    """
    _refuse_unsignable(root)
    payload = write_trust_root(root).encode()
    return RootStatement(payload_type=PAYLOAD_TYPE, payload=payload, root=root, signatures=())


def read_statement(text: bytes) -> RootStatement:
    """Read an envelope; its signatures are still to be verified.

    Fields that DSSE does not know, and the names that it gives to signatures, are passed over.

    Raises:
        ReceiptInvalid: Not an envelope around a trust root; step `trust_root`.
    """
    try:
        fields = parse_object(text, field=_STEP, max_bytes=MAX_TRUST_ROOT_BYTES, max_depth=16).value
    except InvalidArgument as error:
        raise ReceiptInvalid(_STEP, error.description) from error
    signatures = fields.get("signatures")
    if not isinstance(signatures, list) or len(signatures) > MAX_SIGNATURES:
        raise ReceiptInvalid(_STEP, f"`signatures` is not a list of at most {MAX_SIGNATURES}")
    payload = _bytes(fields, "payload")
    # Who signs would look at one trust root, and a reader take the one within it.
    if is_signed_trust_root(payload):
        raise ReceiptInvalid(_STEP, "the envelope's payload is an envelope, not a trust root")
    return RootStatement(
        payload_type=_text(fields, "payloadType"),
        payload=payload,
        root=read_trust_root(payload),
        signatures=tuple(_bytes(entry, "sig") for entry in signatures),
    )


def write_statement(statement: RootStatement) -> str:
    """Write an envelope, indented for people."""
    fields = {
        "payloadType": statement.payload_type,
        "payload": base64.b64encode(statement.payload).decode(),
        "signatures": [{"sig": base64.b64encode(each).decode()} for each in statement.signatures],
    }
    return json.dumps(fields, indent=2) + "\n"


def signers_of(
    statement: RootStatement, keys: Iterable[TrustedKey], is_signed: IsSigned
) -> tuple[Sha256, ...]:
    """List which of these keys signed a statement, each once however often it did."""
    message = statement.message
    return tuple(
        key.key_id
        for key in keys
        if any(is_signed(key, message, signature) for signature in statement.signatures)
    )


def check_own_threshold(statement: RootStatement, is_signed: IsSigned) -> None:
    """Check that enough of the root keys that a statement names signed it.

    Raises:
        ReceiptInvalid: Fewer did, or it does not say how many have to; step `trust_root`.
    """
    if statement.payload_type != PAYLOAD_TYPE:
        raise ReceiptInvalid(_STEP, f"the payload type is not {PAYLOAD_TYPE}")
    _refuse_unsignable(statement.root)
    _check_threshold(statement, statement.root, "its own", is_signed)


def check_successor(trusted: TrustRoot, statement: RootStatement, is_signed: IsSigned) -> None:
    """Check that a statement may take the place of the version that a reader trusts.

    Raises:
        ReceiptInvalid: It is not the next version, too few root keys of it or of the trusted one
            signed it, or it undoes what that one decided of a key; step `trust_root`.
    """
    check_own_threshold(statement, is_signed)
    if statement.root.version == trusted.version and statement.root != trusted:
        raise ReceiptInvalid(
            _STEP,
            f"it is another version {trusted.version} than the one that you trust: root keys "
            "signed two of one number, or one of them is somebody else's. Take neither on, keep "
            "both, ask those who hold the root keys",
        )
    if statement.root.version != trusted.version + 1:
        raise ReceiptInvalid(
            _STEP,
            f"version {statement.root.version} does not follow version {trusted.version}: versions "
            "are taken one by one, and never back",
        )
    if not trusted.root_threshold:
        raise ReceiptInvalid(
            _STEP,
            f"version {trusted.version} does not say how many root keys have to sign the next one: "
            "get that by a way that you trust",
        )
    _check_threshold(statement, trusted, f"version {trusted.version}'s", is_signed)
    refuse_undone(trusted, statement.root)


def with_signature(
    statement: RootStatement, key: TrustedKey, signature: bytes, is_signed: IsSigned
) -> RootStatement:
    """Add a root key's signature; one that is there already changes nothing.

    The key may be one of the version before, whose keys sign the next one too.

    Raises:
        ReceiptInvalid: The key did not make this signature; step `trust_root`.
    """
    if not is_signed(key, statement.message, signature):
        raise ReceiptInvalid(
            _STEP,
            f"this is no signature of the key {key.key_id} over this trust root: sign the bytes "
            "that `toolwarrant trust-root to-sign` writes",
        )
    if signers_of(statement, (key,), is_signed):
        return statement
    return RootStatement(
        payload_type=statement.payload_type,
        payload=statement.payload,
        root=statement.root,
        signatures=(*statement.signatures, signature),
    )


def _check_threshold(
    statement: RootStatement, by: TrustRoot, whose: str, is_signed: IsSigned
) -> None:
    signers = signers_of(statement, by.root_signers, is_signed)
    if len(signers) < by.root_threshold:
        raise ReceiptInvalid(
            _STEP,
            f"{len(signers)} of {whose} root keys signed version {statement.root.version}, not "
            f"{by.root_threshold}",
        )


def _refuse_unsignable(root: TrustRoot) -> None:
    if not root.root_threshold:
        roots = len(root.of_role(KeyRole.ROOT))
        raise ReceiptInvalid(
            _STEP,
            f"it names {roots} root keys, but no `root_threshold`: it does not say how many of "
            "them have to sign it",
        )


def _text(fields: JsonObject, name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise ReceiptInvalid(_STEP, f"the envelope's {name} is not a string")
    return value


def _bytes(entry: JsonValue | Sequence[JsonValue], name: str) -> bytes:
    if not isinstance(entry, Mapping):
        raise ReceiptInvalid(_STEP, "a signature is not an object")
    return decode_base64(_text(entry, name), step=_STEP, what=f"the envelope's {name}")
