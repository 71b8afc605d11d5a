"""`kill -9` of the broker at steps of publishing its log; drill/test_publishing.py has them all."""

from pathlib import Path

from tests.broker_process import Folder
from tests.e2e.crash.publishing import STEPS
from tests.e2e.crash.stepwise import survive


def test_every_write_is_a_step(development_folder: Folder, tmp_path: Path) -> None:
    """Killed before a full tile is shown, the next life shows it; no write has no name, and each
    name is a write that there is.
    """
    steps = survive(development_folder, tmp_path / "dev", [("show tile", 1)], seed=7)
    assert steps == sorted(STEPS)
