"""Give a test a place to keep a store, open it, open it again."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from broker.adapters.sqlite_store import SqliteStore
from broker.core.receipt import Position, ReceiptDraft
from broker.ports import Store
from tests.ports import samples
from tests.ports.fake_clock import FakeClock
from tests.ports.memory_store import MemoryDisk, MemoryStore

Seal = Callable[[ReceiptDraft, Position], bytes]


class Shelf(Protocol):
    """Where one store is kept, at which time by whose clock."""

    clock: FakeClock

    async def open(self, seal: Seal = samples.seal) -> Store:
        """Open the store for one more life."""


class MemoryShelf:
    """Keep a store in memory."""

    def __init__(self) -> None:
        self.disk = MemoryDisk()
        self.clock = FakeClock()

    async def open(self, seal: Seal = samples.seal) -> Store:
        """Open the store for one more life."""
        return await MemoryStore.open(
            self.disk,
            seal=seal,
            now=self.clock.now,
            is_clock_trusted=lambda: self.clock.is_trusted,
        )


class SqliteShelf:
    """Keep a store in a SQLite file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = FakeClock()

    async def open(self, seal: Seal = samples.seal) -> Store:
        """Open the store for one more life."""
        return await SqliteStore.open(
            self.path,
            seal=seal,
            now=self.clock.now,
            is_clock_trusted=lambda: self.clock.is_trusted,
        )
