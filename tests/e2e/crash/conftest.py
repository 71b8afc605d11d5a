"""Brokers that are there to die."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from broker.config_template import Settings
from tests.broker_process import UNHURRIED, Folder, Served

Start = Callable[..., Served]


@pytest.fixture
def start(development_folder: Folder, tmp_path: Path) -> Iterator[Start]:
    """Start the test's own broker, with a store of its own: `start({"sandbox": {...}})`."""
    with ExitStack() as stack:

        def started(settings: Settings | None = None, *, secrets: str = "") -> Served:
            folder = development_folder.copy(tmp_path / "dev", UNHURRIED)
            folder.set(settings or {})
            folder.replace("[secrets]\n", f"[secrets]\n{secrets}")
            return stack.enter_context(Served(folder))

        yield started
