"""Verify that a policy key of a trust root signed a bundle."""

from broker.core.bundle import unpack
from broker.core.bundle_signature import BundleSignature, algorithm_of
from broker.core.ids import Sha256
from broker.core.trust_root import KeyRole, TrustedKey, TrustRoot
from broker.errors import BundleInvalid
from broker.verify.signature import is_signed


def verify_bundle(archive: bytes, root: TrustRoot) -> Sha256:
    """Check the signature of a bundle; give the id of the key that signed it.

    Raises:
        BundleInvalid: Unsigned, by a key that may not, or changed since; the reason says which.
        ConfigurationError: It is no gzipped tar.
    """
    members = unpack(archive, "the bundle")
    signature = BundleSignature.read(members)
    key = _key(signature.key_id, root)
    if signature.algorithm != algorithm_of(key) or not is_signed(
        key, signature.signed, signature.signature
    ):
        raise BundleInvalid(
            f"key {key.key_id} did not sign it: get the bundle anew from where it was built",
            reason="BUNDLE_SIGNATURE_WRONG",
        )
    signature.check_files(members)
    return key.key_id


def _key(key_id: str, root: TrustRoot) -> TrustedKey:
    """Find the key that a signature names, if it may sign policy.

    Raises:
        BundleInvalid: It may not.
    """
    named = [key for key in root.keys if key.key_id == key_id]
    if not named:
        raise BundleInvalid(
            f"the trust root names no key {key_id or 'without an id'}: sign it with a key of role "
            "policy, or add that key in this role and restart the broker",
            reason="BUNDLE_KEY_UNKNOWN",
        )
    for key in named:
        if key.role is KeyRole.POLICY:
            if key.is_unbounded:
                return key
            raise BundleInvalid(
                f"policy key {key_id} has ended or is withdrawn: sign with the one that is active",
                reason="BUNDLE_KEY_WITHDRAWN",
            )
    raise BundleInvalid(
        f"key {key_id} has the role {named[0].role.value}: sign it with a key of role policy",
        reason="BUNDLE_KEY_ROLE",
    )
