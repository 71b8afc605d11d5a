"""Sign with a private key that never leaves its PKCS#11 token."""

from broker.adapters.token_signer.signer import TokenSigner

__all__ = ["TokenSigner"]
