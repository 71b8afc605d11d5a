"""Run the stores' contract on each store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.ports import Store
from tests.ports.shelf import MemoryShelf, Shelf, SqliteShelf


@pytest.fixture(params=["memory", "sqlite"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Shelf:
    """Give an empty place for a store, of each kind in turn."""
    return MemoryShelf() if request.param == "memory" else SqliteShelf(tmp_path / "store.db")


@pytest.fixture
async def store(shelf: Shelf) -> AsyncIterator[Store]:
    """Give a new store, closed after the test."""
    opened = await shelf.open()
    yield opened
    await opened.close()
