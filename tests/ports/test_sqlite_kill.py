"""Kill a process that is committing; look at what it leaves."""

import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.ports import committing, history, samples
from tests.ports.shelf import SqliteShelf

LIVES = 10
ROOT = Path(__file__).parents[2]


def commit_until_killed(path: Path, start: int, lines: int) -> tuple[dict[int, int], set[int]]:
    """Give what a child said was durable before its SIGKILL: call numbers with versions, files.

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
    numbers = [(int(number), int(version)) for number, version in whole]
    calls = {number: version for number, version in numbers if version}
    return calls, {number for number, version in numbers if not version}


def check_count(path: Path) -> None:
    """Fail where a piece belongs to no whole file, or an agent's bytes are not those it keeps."""
    with closing(sqlite3.connect(path)) as store:
        assert (
            store.execute("SELECT count(*) FROM content WHERE kind = 'staging'").fetchone()[0] == 0
        )
        real = store.execute(
            "SELECT subject, sum(length(bytes) + (SELECT coalesce(sum(length(p.bytes)), 0)"
            " FROM pieces AS p WHERE p.file = content.id))"
            " FROM content WHERE kind = 'file' GROUP BY subject ORDER BY subject"
        ).fetchall()
        assert store.execute("SELECT * FROM storage ORDER BY agent").fetchall() == real


class TestKill:
    # Ten starts of an interpreter beside ten checks of a growing record.
    @pytest.mark.timeout(300)
    async def test_nothing_acknowledged_is_lost(self, tmp_path: Path) -> None:
        """After each of ten kills every acknowledged change is there, whole, in unbroken chains."""
        shelf = SqliteShelf(tmp_path / "store.db")
        chance = random.Random(20261123)
        acknowledged: dict[int, int] = {}
        kept: set[int] = set()
        for life in range(LIVES):
            calls_now, files_now = commit_until_killed(
                shelf.path, start=life * 100_000, lines=chance.randrange(1, 150)
            )
            acknowledged |= calls_now
            kept |= files_now
            store = await shelf.open()
            calls = await history.check_store(store)
            for number, version in acknowledged.items():
                assert calls[samples.call_id(number)].version >= version
            for call in calls.values():
                number = samples.number_of(call)
                name = samples.document(f"request {number}").sha256
                assert await store.document(name) is not None
                assert await store.file(call.agent, samples.digest(f"file {number}")) is not None
            # With each start its label, and none without.
            started = [call for call in calls.values() if call.labels and call.version > 1]
            labels = {label for call in started for label in call.labels}
            assert (await store.labels()).get(committing.LABELLED, frozenset()) == labels
            for number in files_now:
                file = committing.large(number)
                assert await store.file(samples.AGENT2, file.sha256) == file.data
            check_count(shelf.path)
            assert store.epoch == 2 * (life + 1)
            await store.close()
        assert len(acknowledged) >= LIVES
        assert labels
        assert kept
