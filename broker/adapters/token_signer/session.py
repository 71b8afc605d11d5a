"""Find a key on a PKCS#11 token by a session of its own."""

import hashlib
from dataclasses import dataclass
from typing import Final, cast

import pkcs11
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pkcs11.constants import Attribute, ObjectClass
from pkcs11.mechanisms import KeyType, Mechanism
from pkcs11.types import Object, SignMixin

from broker.core.token_key import TokenKey
from broker.errors import TokenUnavailable

PublicKey = Ed25519PublicKey | EllipticCurvePublicKey

_P256_BYTES: Final = 32
_OCTET_STRING: Final = 0x04
_ED25519_BYTES: Final = 32
_POINT_BYTES: Final = 65
_P256_OID: Final = bytes.fromhex("06082a8648ce3d030107")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOnToken:
    """A private key by its handle, with the public one by its value."""

    private: SignMixin
    public: PublicKey

    def sign(self, message: bytes) -> bytes:
        """Sign a message (Ed25519 raw, or ECDSA P-256 with SHA-256 in DER).

        Raises:
            PKCS11Error: The token does not.
        """
        if isinstance(self.public, Ed25519PublicKey):
            return self.private.sign(message, mechanism=Mechanism.EDDSA)
        # Hashed here, as not every token hashes by itself.
        digest = hashlib.sha256(message).digest()
        pair = self.private.sign(digest, mechanism=Mechanism.ECDSA)
        if len(pair) != 2 * _P256_BYTES:
            return pair
        r, s = (int.from_bytes(half) for half in (pair[:_P256_BYTES], pair[_P256_BYTES:]))
        return encode_dss_signature(r, s)


def open_key(name: TokenKey, pin: str) -> KeyOnToken:
    """Open a session on the token, find the key in it.

    The library begins anew: tokens that came or went since are seen only then. Whoever else has a
    session by it in this process loses that, so a process has one key by one library.

    Raises:
        PKCS11Error: The token does not let us.
        TokenUnavailable: It has no such key, more than one, or one of another kind.
    """
    library = pkcs11.lib(name.module)
    library.reinitialize()
    serial = name.serial.encode() if name.serial else None
    tokens = list(library.get_tokens(token_label=name.token or None, token_serial=serial))
    if len(tokens) != 1:
        raise TokenUnavailable(
            f"{name.place} is not there, or there are several: {len(tokens)} found"
        )
    session = tokens[0].open(user_pin=pin)
    wanted: dict[Attribute, object] = {}
    if name.label:
        wanted[Attribute.LABEL] = name.label
    if name.key_id:
        wanted[Attribute.ID] = name.key_id
    found = []
    for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
        keys = list(session.get_objects({**wanted, Attribute.CLASS: kind}))
        if len(keys) != 1:
            what = kind.name.lower().replace("_", " ")
            raise TokenUnavailable(
                f"{name.place} has {len(keys)} objects that are this {what}, not one: mend object= "
                "or id=, or put the key's other half onto it"
            )
        found.append(keys[0])
    private, public = found
    return KeyOnToken(private=cast("SignMixin", private), public=_public_key(public, name))


def _public_key(found: Object, name: TokenKey) -> PublicKey:
    point = _unwrapped(found[Attribute.EC_POINT])
    kind = found[Attribute.KEY_TYPE]
    try:
        if kind is KeyType.EC_EDWARDS and len(point) == _ED25519_BYTES:
            return Ed25519PublicKey.from_public_bytes(point)
        if kind is KeyType.EC and found[Attribute.EC_PARAMS] == _P256_OID:
            return EllipticCurvePublicKey.from_encoded_point(SECP256R1(), point)
    except ValueError as error:
        raise TokenUnavailable(f"{name.place}: the key's public part is broken") from error
    raise TokenUnavailable(f"{name.place}: a key that signs is Ed25519 or ECDSA P-256")


def _unwrapped(point: bytes) -> bytes:
    """Take the point out of its DER octet string; some tokens give it bare."""
    if len(point) > 2 and point[0] == _OCTET_STRING and point[1] == len(point) - 2:
        return point[2:]
    return point
