"""Keys and bundles that the tests of activation share."""

from pathlib import Path

import pytest

from broker.core.trust_root import KeyRole, TrustedKey, TrustRoot
from broker.shipped import policies_dir
from tests.activation.bundles import PROBE, Key
from tests.e2e.policies import compile_policy


@pytest.fixture(scope="session")
def shipped() -> bytes:
    """The bundle that the package carries."""
    return (policies_dir() / "bundle.tar.gz").read_bytes()


@pytest.fixture(scope="session")
def probe(opa: str, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The shipped policy with a package that does what data says."""
    return compile_policy(PROBE, tmp_path_factory.mktemp("probe"), opa).read_bytes()


@pytest.fixture(scope="session")
def key() -> Key:
    """The policy key of the trust root."""
    return Key()


@pytest.fixture(scope="session")
def others() -> dict[KeyRole, Key]:
    """The trust root's keys of other roles."""
    return {role: Key(role, "ed25519") for role in (KeyRole.RECEIPT, KeyRole.LOG, KeyRole.ROOT)}


@pytest.fixture(scope="session")
def root(key: Key, others: dict[KeyRole, Key]) -> TrustRoot:
    """Names them all."""
    keys: list[TrustedKey] = [key.trusted, *(other.trusted for other in others.values())]
    return TrustRoot(version=1, keys=tuple(keys))


def public_key(folder: Path, key: Key) -> Path:
    """Write a key's public half to a file."""
    file = folder / "public.pem"
    file.write_text(key.trusted.public_key_pem)
    return file
