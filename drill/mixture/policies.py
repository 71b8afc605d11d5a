"""Give a broker one policy after the other, while it lives or while it is dead."""

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

from broker.client import Client
from drill.mixture.traces import settled
from tests.activation.bundles import Key, read, variant
from tests.broker_process import Served
from tests.e2e.crash.own_engine import OwnEngine


class Policies:
    """Signed bundles, each with a number of its own, that take turns.

    Args:
        bundles: A bundle for each number of bytes that a small call gets by it.
        scratch: An empty folder.
    """

    def __init__(
        self, served: Served, engine: OwnEngine, bundles: Mapping[int, bytes], scratch: Path
    ) -> None:
        self._served = served
        self._engine = engine
        self._key = Key.of(served.folder.path / "keys" / "policy.key")
        self._turns = cycle(bundles.items())
        self._scratch = scratch
        self._number = 0
        self.small_bytes: dict[str, int] = {}
        """What a small call gets, by the digest of the bundle that decides it."""
        self.let_go = 0
        """How many containers were there when the policy of a living broker changed."""

    def configure(self) -> None:
        """Let the broker's next life find another one in its configuration."""
        file = self._scratch / f"{self._number + 1}.tar.gz"
        file.write_bytes(self._next())
        self._served.folder.set({"policy": {"bundle": str(file)}})

    def activate(self) -> None:
        """Activate another one; wait until no container is there any more that was there before.

        One that a call had got goes with the call's end.
        """
        folder = self._served.folder.config
        archive = self._next()
        with Client.from_config(folder, "policy", address=self._served.target) as client:
            before = set(self._engine.containers())
            assert client.activate(archive).revision == read(archive).revision
        self.let_go += len(before)
        assert settled(lambda: dict.fromkeys(before.intersection(self._engine.containers()))) == {}

    def _next(self) -> bytes:
        memory_bytes, bundle = next(self._turns)
        self._number += 1
        archive = self._key.sign(variant(bundle, self._number))
        self.small_bytes[read(archive).sha256] = memory_bytes
        return archive
