"""Which bundle a broker starts with."""

from pathlib import Path

import pytest

from broker.activation import kept
from broker.bundle_choice import configured_bundle, first_bundle
from broker.config_policy import PolicySection
from broker.core.bundle import Bundle, pack_members, unpack
from broker.core.trust_root import TrustRoot
from broker.errors import ConfigurationError
from tests.activation.bundles import Key, read, variant
from tests.ports import samples
from tests.ports.fake_clock import FakeClock
from tests.ports.memory_store import MemoryDisk, MemoryStore
from tests.story.stage import Alarms

UNSIGNED = PolicySection(unsigned_bundle=True)


def configured(folder: Path, archive: bytes, root: TrustRoot, *, unsigned: bool = False) -> Bundle:
    """Read a bundle as the configuration names it."""
    (folder / "b.tar.gz").write_bytes(archive)
    section = PolicySection(bundle=folder / "b.tar.gz", unsigned_bundle=unsigned)
    return configured_bundle(section, root)


class TestConfigured:
    def test_a_policy_key_signed_it(self, probe, key, root, tmp_path):
        """Its twin, unsigned, is refused, with both remedies."""
        archive = variant(probe, 3)
        assert configured(tmp_path, key.sign(archive), root).number == 3
        with pytest.raises(ConfigurationError, match=r"nobody signed it.*or set unsigned_bundle"):
            configured(tmp_path, archive, root)

    def test_the_operator_vouches_for_it(self, probe, root, tmp_path):
        """Unsigned, where the configuration says so; not where somebody else signed it."""
        archive = variant(probe, 3)
        assert configured(tmp_path, archive, root, unsigned=True).number == 3
        with pytest.raises(ConfigurationError, match="names no key"):
            configured(tmp_path, Key().sign(archive), root, unsigned=True)

    def test_the_package_vouches_for_it(self, shipped, root, tmp_path):
        """The shipped bundle, wherever it lies, is known by its digest."""
        assert configured_bundle(PolicySection(), root).sha256 == read(shipped).sha256
        assert configured(tmp_path, shipped, root).sha256 == read(shipped).sha256


class Life:
    """Lives of a broker on one store."""

    def __init__(self, root: TrustRoot, section: PolicySection = UNSIGNED) -> None:
        self.disk, self.alarms = MemoryDisk(), Alarms()
        self._root, self._section = root, section

    async def begins(self, archive: bytes, root: TrustRoot | None = None) -> int:
        """Begin a life with a configured bundle; give the number of the one that decides."""
        clock = FakeClock()
        store = await MemoryStore.open(self.disk, seal=samples.seal, now=clock.now)
        section, trusted = self._section, root or self._root
        try:
            bundle = await first_bundle(read(archive), section, trusted, store, clock, self.alarms)
        finally:
            await store.close()
        return bundle.number


class TestFirst:
    async def test_the_newer_counts(self, probe, root):
        """A newer configured bundle takes the place of the last one, an older one does not."""
        life = Life(root)
        started = [await life.begins(variant(probe, number)) for number in (0, 3, 2, 5, 0, 4)]
        assert started == [0, 3, 3, 5, 5, 5]
        assert [event.data["number"] for event in life.disk.events] == [3, 5]
        assert life.disk.events[1].data["source"] == "configuration"

    async def test_without_numbers(self, probe, root):
        """Bundles that have no order: the configured one, as the shipped one of a new version."""
        life = Life(root)
        for rule in ("probe.a", "probe.b"):
            assert await life.begins(variant(probe, 0, {"rule": rule})) == 0
        assert life.disk.bundle is None

    async def test_what_could_not_be_activated(self, probe, root):
        """No start by it either, where it would decide anew; what was active last goes on."""
        life, policy = Life(root), unpack(variant(probe, 3), "it")
        loose = pack_members({**policy, "data.json": policy["data.json"] + b"\n"})
        with pytest.raises(ConfigurationError, match="BUNDLE_NOT_CANONICAL"):
            await life.begins(loose)
        with pytest.raises(ConfigurationError, match="'x' is no mode"):
            await life.begins(variant(probe, 3, {"mode": "x"}))
        life.disk.bundle = kept(read(loose))
        assert await life.begins(variant(probe, 2)) == 3

    async def test_one_that_does_not_count_is_told(self, probe, root):
        """The number of the last one with other content, or none: an operator has to look."""
        life = Life(root, PolicySection(bundle=Path("/b.tar.gz"), unsigned_bundle=True))
        await life.begins(variant(probe, 3))
        await life.begins(variant(probe, 2))
        assert life.alarms.heard == []
        await life.begins(variant(probe, 3, {"rule": "probe.a"}))
        await life.begins(variant(probe, 0))
        assert [heard.startswith("/b.tar.gz was not taken") for heard in life.alarms.heard] == [
            True,
            True,
        ]

    async def test_the_last_one_is_checked_again(self, probe, key, root):
        """A key that was withdrawn since: the broker does not start by what it signed."""
        life = Life(root, PolicySection())
        await life.begins(key.sign(variant(probe, 3)))
        other = TrustRoot(version=2, keys=(Key().trusted,))
        with pytest.raises(ConfigurationError, match="names no key"):
            await life.begins(variant(probe, 0), other)
        assert await life.begins(key.sign(variant(probe, 4)), other) == 4

    async def test_the_last_one_signed_anew(self, probe, key, root):
        """After its key's end, the same bundle under the next key is all that a start wants."""
        life, next_key = Life(root, PolicySection()), Key()
        await life.begins(key.sign(variant(probe, 3)))
        later = TrustRoot(version=2, keys=(next_key.trusted,))
        assert await life.begins(next_key.sign(variant(probe, 3)), later) == 3
        with pytest.raises(ConfigurationError, match="names no key"):
            await life.begins(next_key.sign(variant(probe, 3, {"rule": "probe.a"})), later)
        assert [event.data["number"] for event in life.disk.events] == [3]
