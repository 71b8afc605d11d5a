"""What tests of bundles share: a watched folder, the team that signs for it."""

from pathlib import Path

import pytest

from tests.bundles.signed import Team


@pytest.fixture(scope="session")
def team() -> Team:
    """The security team whose key the trust root names."""
    return Team()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that is watched."""
    (tmp_path / "bundles").mkdir()
    return tmp_path / "bundles"
