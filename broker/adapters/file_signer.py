"""Sign with a private key that stands in a file."""

import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
)
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.core.ids import Sha256, sha256_hex
from broker.errors import ConfigurationError

SCHEME = "file:"
_MAX_KEY_BYTES = 16_384
_CURVE = "secp256r1"


class FileSigner:
    """A `Signer` by URI `file:PATH`: PKCS#8 PEM, Ed25519 or ECDSA P-256. Thread-safe.

    Args:
        uri: `file:PATH`.
        folder: What a relative path is relative to.

    Raises:
        ConfigurationError: No such file, one that others may read, or no key of these kinds.
    """

    def __init__(self, uri: str, *, folder: Path = Path()) -> None:
        if not uri.startswith(SCHEME) or uri == SCHEME:
            raise ConfigurationError(uri, None, "a key is named `file:PATH`")
        path = folder / uri.removeprefix(SCHEME)
        self._key = _read_key(path)
        public = self._key.public_key()
        encoding, form = serialization.Encoding, serialization.PublicFormat.SubjectPublicKeyInfo
        self._key_id = sha256_hex(public.public_bytes(encoding.DER, form))
        self._public_key_pem = public.public_bytes(encoding.PEM, form).decode()

    @property
    def key_id(self) -> Sha256:
        """SHA-256 of the public key's SPKI DER."""
        return self._key_id

    @property
    def public_key_pem(self) -> str:
        """SPKI PEM of the public key."""
        return self._public_key_pem

    def sign(self, message: bytes) -> bytes:
        """Sign a message (Ed25519 raw, or ECDSA P-256 with SHA-256 in DER)."""
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(message)
        return self._key.sign(message, ECDSA(hashes.SHA256()))


def generate_key(path: Path, *, algorithm: str = "ed25519") -> None:
    """Make a private key in a new file of mode 0600, durable on return.

    Args:
        algorithm: `ed25519` or `ecdsa-p256`.

    Raises:
        FileExistsError: There is a file already; a key is never overwritten.
    """
    if algorithm not in ("ed25519", "ecdsa-p256"):
        raise ValueError(f"{algorithm} is not ed25519 or ecdsa-p256")
    key: Ed25519PrivateKey | EllipticCurvePrivateKey = (
        Ed25519PrivateKey.generate() if algorithm == "ed25519" else generate_ec_key(SECP256R1())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(descriptor)


def _read_key(path: Path) -> Ed25519PrivateKey | EllipticCurvePrivateKey:
    pem = _read_private_file(path)
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            str(path),
            None,
            "no unencrypted PKCS#8 PEM private key: make one with `openssl genpkey`",
        ) from error
    if isinstance(key, Ed25519PrivateKey):
        return key
    if isinstance(key, EllipticCurvePrivateKey) and key.curve.name == _CURVE:
        return key
    raise ConfigurationError(str(path), None, "a key that signs is Ed25519 or ECDSA P-256")


def _read_private_file(path: Path) -> bytes:
    """Read a file that its owner alone may read; asked of the open file, not of its name."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigurationError(
            str(path), None, f"the key cannot be read ({error.strerror})"
        ) from error
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise ConfigurationError(str(path), None, "the key is not a regular file")
        if facts.st_mode & 0o077:
            raise ConfigurationError(
                str(path), None, "others may use the key: `chmod 600` it, or replace it"
            )
        return os.read(descriptor, _MAX_KEY_BYTES)
    finally:
        os.close(descriptor)
