"""Give a test a place to keep a store, open it, open it again."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from broker.adapters.sqlite_store import SqliteStore
from broker.core.receipt import Position, ReceiptDraft
from broker.ports import Store
from tests.ports import samples
from tests.ports.memory_store import MemoryDisk, MemoryStore

Seal = Callable[[ReceiptDraft, Position], bytes]


class Shelf(Protocol):
    """Where one store is kept."""

    async def open(self, seal: Seal = samples.seal) -> Store:
        """Open the store for one more life."""


class MemoryShelf:
    """Keep a store in memory."""

    def __init__(self) -> None:
        self.disk = MemoryDisk()

    async def open(self, seal: Seal = samples.seal) -> Store:
        """Open the store for one more life."""
        return await MemoryStore.open(self.disk, seal=seal, now=lambda: samples.START)


class SqliteShelf:
    """Keep a store in a SQLite file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def open(self, seal: Seal = samples.seal) -> Store:
        """Open the store for one more life."""
        return await SqliteStore.open(self.path, seal=seal, now=lambda: samples.START)
