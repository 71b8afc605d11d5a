"""Verify one signature by a key of the trust root."""

from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from broker.core.trust_root import TrustedKey


def is_signed(key: TrustedKey, message: bytes, signature: bytes) -> bool:
    """Tell whether a key signed a message (Ed25519 raw, or ECDSA P-256 with SHA-256 in DER)."""
    try:
        public = _public_key(key.public_key_pem)
        if isinstance(public, Ed25519PublicKey):
            public.verify(signature, message)
            return True
        if isinstance(public, EllipticCurvePublicKey):
            public.verify(signature, message, ECDSA(hashes.SHA256()))
            return True
    except (InvalidSignature, ValueError):
        return False
    return False


# Reading a key takes as long as verifying by it, and a log has few keys.
@lru_cache(maxsize=64)
def _public_key(pem: str) -> PublicKeyTypes:
    return serialization.load_pem_public_key(pem.encode())
