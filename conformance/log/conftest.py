"""What the log's third parties run on."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import development_folder

__all__ = ["development_folder"]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def logcheck() -> str:
    """Give the third party's program, built from the Go module proxy where it is not cached."""
    found = subprocess.run(
        [ROOT / "scripts/tool.sh", "logcheck"], check=True, capture_output=True, text=True
    )
    return found.stdout.strip()
