"""Make keys of vectors that are the same whenever they are made."""

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from broker.adapters.file_signer import FileSigner


def seeded(folder: Path, name: str) -> FileSigner:
    """Make an Ed25519 key of its name: anybody can, so it is for vectors alone."""
    seed = hashlib.sha256(f"toolwarrant vectors: {name}".encode()).digest()
    path = folder / f"{name}.key"
    path.touch(0o600)
    path.write_bytes(
        Ed25519PrivateKey.from_private_bytes(seed).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    )
    return FileSigner(f"file:{path}")
