"""What every drill shares: how long it goes on, from which seed.

`SHORT=1` keeps all of them within two minutes; `SEED=n` repeats one that failed.
"""

import os

import pytest

from tests.conftest import development_folder, pytest_terminal_summary
from tests.e2e.crash.conftest import start

__all__ = ["development_folder", "is_short", "pytest_terminal_summary", "seed", "start"]


@pytest.fixture(scope="session")
def is_short() -> bool:
    """Whether there is little time."""
    return bool(os.environ.get("SHORT"))


@pytest.fixture(scope="session")
def seed() -> int:
    """What everything random is drawn from."""
    return int(os.environ.get("SEED", "20261123"))
