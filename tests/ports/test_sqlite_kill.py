"""Kill a process that is committing; look at what it leaves."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ports import history, samples
from tests.ports.shelf import SqliteShelf

LIVES = 10
ROOT = Path(__file__).parents[2]


def commit_until_killed(path: Path, start: int, lines: int) -> dict[int, int]:
    """Give what a child said was durable, call number with version, before its SIGKILL.

    Args:
        lines: After how many of its lines it is killed, in the midst of its next ones.
    """
    argv = [sys.executable, "-m", "tests.ports.committing", str(path), str(start)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(lines)]
        child.kill()
        said += child.stdout.readlines()
    # The last line may be cut: the child had not said it.
    whole = [line.split() for line in said if line.endswith("\n")]
    return {int(number): int(version) for number, version in whole}


class TestKill:
    # Ten starts of an interpreter beside ten checks of a growing record.
    @pytest.mark.timeout(300)
    async def test_nothing_acknowledged_is_lost(self, tmp_path: Path) -> None:
        """After each of ten kills every acknowledged change is there, whole, in unbroken chains."""
        shelf = SqliteShelf(tmp_path / "store.db")
        chance = random.Random(20261123)
        acknowledged: dict[int, int] = {}
        for life in range(LIVES):
            acknowledged |= commit_until_killed(
                shelf.path, start=life * 100_000, lines=chance.randrange(1, 150)
            )
            store = await shelf.open()
            calls = await history.check_store(store)
            for number, version in acknowledged.items():
                assert calls[samples.call_id(number)].version >= version
            for call in calls.values():
                number = samples.number_of(call)
                name = samples.document(f"request {number}").sha256
                assert await store.document(name) is not None
                assert await store.file(call.agent, samples.digest(f"file {number}")) is not None
            assert store.epoch == 2 * (life + 1)
            await store.close()
        assert len(acknowledged) >= LIVES
