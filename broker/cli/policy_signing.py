"""Sign what `toolwarrant policy build` writes, under its number."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from broker.config import FILE_SCHEME
from broker.core.bundle import read_bundle
from broker.core.bundle_signature import sign_bundle
from broker.core.trust_root import KeyRole, TrustedKey
from broker.errors import ConfigurationError


def next_number(bundle: Path) -> int:
    """Give a number above that of the bundle that stands there, and of those before.

    The time in seconds, so that builds on several machines need not know of one another.
    """
    try:
        before = read_bundle(bundle.read_bytes(), str(bundle)).number
    except (OSError, ConfigurationError):
        # None is there, or none whose number could count.
        before = 0
    return max(int(datetime.now(UTC).timestamp()), before + 1)


def signing(key: str) -> Callable[[bytes], bytes]:
    """Open a key; give what signs a bundle with it.

    Args:
        key: A path, or `file:` with one; empty: bundles stay as they are.

    Raises:
        ConfigurationError: It is no key, or others may read it.
    """
    from broker.adapters.file_signer import FileSigner

    if not key:
        return lambda archive: archive
    signer = FileSigner(f"{FILE_SCHEME}{key.removeprefix(FILE_SCHEME)}")
    trusted = TrustedKey.from_pem(KeyRole.POLICY, signer.public_key_pem)
    return lambda archive: sign_bundle(archive, trusted, signer.sign, "the bundle")
