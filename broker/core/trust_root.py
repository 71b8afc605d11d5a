"""Name the keys that a reader of receipts trusts."""

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Self

from broker.core.canonical import JsonObject, JsonValue
from broker.core.ids import Sha256, sha256_hex
from broker.core.signed_note import is_key_name
from broker.core.strict_json import parse_object
from broker.errors import InvalidArgument, ReceiptInvalid

MAX_TRUST_ROOT_BYTES = 1 << 20
MAX_ROOT_KEYS = 32
"""Each signature is tried under each root key."""
_PEM_BEGIN = "-----BEGIN PUBLIC KEY-----"
_PEM_END = "-----END PUBLIC KEY-----"
_STEP = "trust_root"
# SubjectPublicKeyInfo up to the key's own bytes (RFC 8410, RFC 5480), with the whole length.
_KINDS = (
    (bytes.fromhex("302a300506032b6570032100"), 44),
    (bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"), 91),
)


class KeyRole(Enum):
    """What a key may sign."""

    RECEIPT = "receipt"
    LOG = "log"
    APPROVER = "approver"
    """A person's votes."""
    POLICY = "policy"
    """Policy bundles."""
    WITNESS = "witness"
    ROOT = "root"
    """The next version of the trust root."""


class KeyStatus(Enum):
    """Whether a key is still used."""

    ACTIVE = "active"
    WITHDRAWN = "withdrawn"


class Standing(Enum):
    """Whether what a key signed counts, as far as the trust root tells."""

    VALID = "valid"
    INVALID = "invalid"
    INDETERMINATE = "indeterminate"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A public key with what it is trusted for.

    Args:
        key_id: SHA-256 of the SPKI DER.
        public_key_pem: SPKI PEM, Ed25519 or ECDSA P-256.
        valid_from_index: First index of the log that the key may sign.
        valid_until_index: First index that it may sign no more; None while there is no end.
        name: Of a witness: the name under which its cosignatures count; empty: any.
    """

    role: KeyRole
    key_id: Sha256
    public_key_pem: str
    valid_from_index: int = 0
    valid_until_index: int | None = None
    status: KeyStatus = KeyStatus.ACTIVE
    name: str = ""

    def __post_init__(self) -> None:
        if sha256_hex(spki_der(self.public_key_pem)) != self.key_id:
            raise ReceiptInvalid(_STEP, f"keyid {self.key_id} is not the SHA-256 of its key")
        until = self.valid_until_index
        if self.valid_from_index < 0 or (until is not None and until < self.valid_from_index):
            raise ReceiptInvalid(_STEP, f"key {self.key_id} is valid at no index")
        if self.name and not (self.role is KeyRole.WITNESS and is_key_name(self.name)):
            raise ReceiptInvalid(
                _STEP,
                f"key {self.key_id} has a name, which is for witnesses, without a space or a plus",
            )

    @classmethod
    def from_pem(cls, role: KeyRole, public_key_pem: str) -> Self:
        """Trust a key from the log's beginning, without an end."""
        key_id = sha256_hex(spki_der(public_key_pem))
        return cls(role=role, key_id=key_id, public_key_pem=public_key_pem)

    @property
    def is_unbounded(self) -> bool:
        """Tell whether a signature counts without knowing its place in the log."""
        return self.status is KeyStatus.ACTIVE and self.valid_until_index is None

    def is_valid_at(self, index: int) -> bool:
        """Tell whether an index of the log is within the key's bounds, whatever its status."""
        until = self.valid_until_index
        return self.valid_from_index <= index and (until is None or index < until)

    def standing(self, index: int | None) -> Standing:
        """Judge what the key signed by its place in the log, never by a clock.

        A withdrawn key may have signed something long before, and a bounded one outside its bounds:
        where the place is not known, or the trust root does not say where the withdrawal begins,
        nobody can tell.

        Args:
            index: Of what was signed, in the log; None where it was not shown to be there.
        """
        if index is not None and not self.is_valid_at(index):
            return Standing.INVALID
        if self.is_unbounded or (index is not None and self.valid_until_index is not None):
            return Standing.VALID
        return Standing.INDETERMINATE

    @property
    def ed25519_key(self) -> bytes | None:
        """Give the key's 32 raw bytes; None where it is of another kind."""
        der, (prefix, size) = spki_der(self.public_key_pem), _KINDS[0]
        return der[len(prefix) :] if len(der) == size else None


IsSigned = Callable[[TrustedKey, bytes, bytes], bool]
"""Tells whether a key signed a message: key, message, signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRoot:
    """The keys, by role; no key has two.

    Args:
        version: Grows by one with every change.
        root_threshold: How many of the root keys must sign; 0 where nobody said.
    """

    version: int
    keys: tuple[TrustedKey, ...]
    root_threshold: int = 0

    def __post_init__(self) -> None:
        if not self.keys:
            raise ReceiptInvalid(_STEP, "it names no key: nothing could be verified")
        if len({(key.role, key.key_id) for key in self.keys}) != len(self.keys):
            raise ReceiptInvalid(_STEP, "it names a key twice in one role")
        _refuse_shared((key.key_id, key.role.value) for key in self.keys)
        if self.version < 1:
            raise ReceiptInvalid(_STEP, "versions count from 1")
        roots = len(self.of_role(KeyRole.ROOT))
        if roots > MAX_ROOT_KEYS:
            raise ReceiptInvalid(_STEP, f"it names more than {MAX_ROOT_KEYS} root keys")
        if not 0 <= self.root_threshold <= len(self.root_signers):
            raise ReceiptInvalid(
                _STEP, f"its root keys in use cannot meet a threshold of {self.root_threshold}"
            )

    def of_role(self, role: KeyRole) -> tuple[TrustedKey, ...]:
        """Give the keys of one role, withdrawn ones included."""
        return tuple(key for key in self.keys if key.role is role)

    def find(self, key_id: Sha256) -> TrustedKey | None:
        """Give the key of this id, whatever its role."""
        return next((key for key in self.keys if key.key_id == key_id), None)

    @property
    def root_signers(self) -> tuple[TrustedKey, ...]:
        """Give the root keys whose signature counts.

        A version has no index of the log, so whoever gave a root key an end, at whichever index,
        wanted its signature to count no more.
        """
        return tuple(key for key in self.of_role(KeyRole.ROOT) if key.is_unbounded)


def write_trust_root(root: TrustRoot) -> str:
    """Write `trust-root.json`, indented for people."""
    keys = [write_trusted_key(key) for key in root.keys]
    fields: dict[str, object] = {"version": root.version, "keys": keys}
    if root.root_threshold:
        fields["root_threshold"] = root.root_threshold
    return json.dumps(fields, indent=2, sort_keys=True) + "\n"


def write_trusted_key(key: TrustedKey) -> dict[str, str | int | None]:
    """Write a key's entry in `trust-root.json`."""
    named = {"name": key.name} if key.name else {}
    return {
        **named,
        "role": key.role.value,
        "keyid": key.key_id,
        "public_key": key.public_key_pem,
        "valid_from_index": key.valid_from_index,
        "valid_until_index": key.valid_until_index,
        "status": key.status.value,
    }


def read_trust_root(text: bytes) -> TrustRoot:
    """Read `trust-root.json`, bare or as the payload of a DSSE envelope.

    No signature is checked here: who is to trust the keys asks `verify.trust_root` instead. Fields
    and roles that this version does not know are passed over; they can add no trust.

    Raises:
        ReceiptInvalid: Not a trust root; step `trust_root`.
    """
    fields = _object(text)
    if "payloadType" in fields:
        fields = _object(_payload(fields))
    version, entries = fields.get("version"), fields.get("keys")
    if not isinstance(entries, list):
        raise ReceiptInvalid(_STEP, "`keys` is not a list")
    _refuse_shared(_named_roles(entries))
    known = {role.value for role in KeyRole}
    keys = [
        _read_key(entry)
        for entry in entries
        if not (isinstance(entry, Mapping) and _is_other_role(entry.get("role"), known))
    ]
    return TrustRoot(
        version=_index("version", version),
        keys=tuple(keys),
        root_threshold=_index("root_threshold", fields.get("root_threshold", 0)),
    )


def is_signed_trust_root(text: bytes) -> bool:
    """Tell whether a trust root comes in a DSSE envelope.

    Raises:
        ReceiptInvalid: Not a JSON object; step `trust_root`.
    """
    return "payloadType" in _object(text)


def ed25519_pem(public_key: bytes) -> str:
    """Write the 32 raw bytes of an Ed25519 key as SPKI PEM."""
    encoded = base64.b64encode(_KINDS[0][0] + public_key).decode()
    return f"{_PEM_BEGIN}\n{encoded}\n{_PEM_END}\n"


def spki_der(pem: str) -> bytes:
    """Decode a public key's SPKI PEM.

    Raises:
        ReceiptInvalid: Not one PEM of an Ed25519 or uncompressed P-256 key; step `trust_root`.
    """
    lines = pem.strip().splitlines()
    if len(lines) < 3 or lines[0] != _PEM_BEGIN or lines[-1] != _PEM_END:
        raise ReceiptInvalid(_STEP, "public_key is not one SPKI PEM")
    try:
        der = base64.b64decode("".join(lines[1:-1]), validate=True)
    except (ValueError, binascii.Error) as error:
        raise ReceiptInvalid(_STEP, "public_key is not PEM: broken base64") from error
    if not any(der.startswith(prefix) and len(der) == size for prefix, size in _KINDS):
        raise ReceiptInvalid(_STEP, "public_key is neither Ed25519 nor ECDSA P-256")
    return der


def _object(text: bytes) -> JsonObject:
    try:
        return parse_object(text, field=_STEP, max_bytes=MAX_TRUST_ROOT_BYTES, max_depth=16).value
    except InvalidArgument as error:
        raise ReceiptInvalid(_STEP, error.description) from error


def _payload(envelope: JsonObject) -> bytes:
    payload = envelope.get("payload")
    if not isinstance(payload, str):
        raise ReceiptInvalid(_STEP, "the envelope's payload is not a string")
    try:
        return base64.b64decode(payload, validate=True)
    except (ValueError, binascii.Error) as error:
        raise ReceiptInvalid(_STEP, "the envelope's payload is not base64") from error


def _named_roles(entries: Sequence[JsonValue]) -> Iterator[tuple[str, str]]:
    """Give each key's id with its role, also of roles that are passed over."""
    for entry in entries:
        if isinstance(entry, Mapping):
            key_id, role = entry.get("keyid"), entry.get("role")
            if isinstance(key_id, str) and isinstance(role, str):
                yield key_id, role


def _refuse_shared(named: Iterable[tuple[str, str]]) -> None:
    """Refuse one key in two roles: who may sign the one could sign the other."""
    roles: dict[str, str] = {}
    for key_id, role in named:
        first = roles.setdefault(key_id, role)
        if first != role:
            raise ReceiptInvalid(
                _STEP, f"the key {key_id} has two roles, {first} and {role}: a key has one"
            )


def _is_other_role(role: object, known: set[str]) -> bool:
    return isinstance(role, str) and role not in known


def _read_key(entry: JsonValue | Sequence[JsonValue]) -> TrustedKey:
    if not isinstance(entry, Mapping):
        raise ReceiptInvalid(_STEP, "a key is not an object")
    until, role = entry.get("valid_until_index"), KeyRole(_text(entry, "role"))
    is_named = role is KeyRole.WITNESS and "name" in entry
    return TrustedKey(
        role=role,
        key_id=Sha256(_text(entry, "keyid")),
        public_key_pem=_text(entry, "public_key"),
        valid_from_index=_index("valid_from_index", entry.get("valid_from_index")),
        valid_until_index=None if until is None else _index("valid_until_index", until),
        status=_status(_text(entry, "status")),
        name=_text(entry, "name") if is_named else "",
    )


def _status(text: str) -> KeyStatus:
    try:
        return KeyStatus(text)
    except ValueError:
        raise ReceiptInvalid(_STEP, "a key's status is neither active nor withdrawn") from None


def _text(entry: JsonObject, name: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str):
        raise ReceiptInvalid(_STEP, f"a key's `{name}` is not a string")
    return value


def _index(name: str, value: JsonValue) -> int:
    """Read a 64-bit number, written as a number or as a string of digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 19:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ReceiptInvalid(_STEP, f"`{name}` is not a whole number")
