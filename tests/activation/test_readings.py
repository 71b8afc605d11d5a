"""A signed bundle is the same for whoever reads it: nothing is slipped past the signature."""

import gzip
import tarfile
from collections.abc import Callable

import pytest

from broker.adapters.opa_server import OpaServerEngine
from broker.core.bundle import pack_members
from broker.core.replay import rules_of
from broker.core.trust_root import TrustRoot
from broker.errors import ConfigurationError
from broker.ports import PolicyEngine
from broker.verify.bundle import verify_bundle
from tests.activation.bundles import Key, read, variant
from tests.activation.rig import ASKED, load

SMUGGLED = b"""package teams.smuggled

# It could allow as well; a rule that denies is one whose name every answer shows.
deny contains {"rule": "smuggled.seen", "message": "m"}
"""
DENYING = {"rule": "probe.denied"}


def _header(name: str, size: int, kind: bytes) -> bytes:
    header = tarfile.TarInfo(name)
    header.size, header.type = size, kind
    return header.tobuf(tarfile.USTAR_FORMAT)


def behind_a_folder(archive: bytes) -> bytes:
    """Begin with a folder that says it has a size, which some readers skip and others read."""
    hidden = _member()[:-1024]
    return gzip.compress(
        _header("folder/", len(hidden), tarfile.DIRTYPE) + hidden + gzip.decompress(archive)
    )


def of_another_type(kind: bytes) -> Callable[[bytes], bytes]:
    """Give one file a type that is a file to some readers, and nothing to others."""

    def change(archive: bytes) -> bytes:
        tar = gzip.decompress(archive)
        before = tarfile.TarInfo.frombuf(tar[_place(tar) : _place(tar) + 512], "utf-8", "strict")
        header = _header(before.name, before.size, kind)
        return gzip.compress(tar[: _place(tar)] + header + tar[_place(tar) + 512 :])

    return change


def _place(tar: bytes) -> int:
    """Find the header of the file whose rules deny."""
    return next(
        place
        for place in range(0, len(tar), 512)
        if tar[place + 257 : place + 262] == b"ustar" and b"probe" in tar[place : place + 100]
    )


WAYS = [
    pytest.param(behind_a_folder, id="behind a folder"),
    pytest.param(of_another_type(tarfile.CONTTYPE), id="a contiguous file"),
    pytest.param(of_another_type(tarfile.GNUTYPE_SPARSE), id="a sparse file"),
]


@pytest.fixture
def signed(probe: bytes, key: Key) -> bytes:
    """A bundle whose probe denies."""
    return key.sign(variant(probe, 7, DENYING))


class TestWhatOthersReadOtherwise:
    @pytest.mark.parametrize("way", WAYS)
    def test_refused(self, signed: bytes, root: TrustRoot, way: Callable[[bytes], bytes]) -> None:
        """What readers of tar do not agree on is no bundle; as it was signed it is one."""
        assert verify_bundle(signed, root)
        with pytest.raises(ConfigurationError, match="a member that is refused"):
            verify_bundle(way(signed), root)

    async def test_opa_is_given_what_was_read(self, opa: str, signed: bytes) -> None:
        """Not the bytes that it was read from: OPA cannot read what follows an end as we do."""
        # One empty block ends a bundle here, two end one there.
        behind = gzip.compress(gzip.decompress(signed)[:-512] + _member())
        assert read(behind).sha256 == read(signed).sha256
        spawned = await OpaServerEngine.spawn(opa, read(behind), timeout_s=20)
        rules = await _rules(spawned)
        assert rules == await _rules(await load(read(signed)))
        assert "probe.denied" in rules


def _member() -> bytes:
    return gzip.decompress(pack_members({"smuggled.rego": SMUGGLED}))


async def _rules(engine: PolicyEngine) -> tuple[str, ...]:
    try:
        return rules_of((await engine.evaluate(ASKED)).output)
    finally:
        await engine.close()
