"""Kill a process that is showing its log; look at what readers see."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from broker.core.trust_root import KeyRole, TrustRoot
from broker.ports import LogHead
from broker.verify.log import open_checkpoint
from tests.log.fakes import check_shown, checkpoint_in, entries_in
from tests.ports.shelf import SqliteShelf
from tests.verify.log_vectors import trusted
from tests.verify.receipts import new_signer

LIVES = 12
ROOT = Path(__file__).parents[2]


def advance_until_killed(folder: Path, start: int, lines: int) -> int:
    """Give the largest size that a child said was shown before its SIGKILL.

    Args:
        lines: After how many of its lines it is killed, in the midst of what comes next.
    """
    argv = [sys.executable, "-m", "tests.log.advancing", str(folder), str(start)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(lines)]
        child.kill()
        said += child.stdout.readlines()
    # The last line may be cut: the child had not said it.
    return max(int(line) for line in said if line.endswith("\n"))


def files_in(folder: Path) -> dict[str, bytes]:
    """Read what readers see, without what only the broker looks for."""
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: path.read_bytes()
        for name, path in names.items()
        if path.is_file() and not path.name.startswith(".")
    }


# A dozen starts of an interpreter, each followed by a look at a growing log.
@pytest.mark.timeout(300)
async def test_readers_see_whole_logs_that_only_grow(tmp_path: Path) -> None:
    """After each of a dozen kills readers see a signed head with all its tiles, at least as far as
    was said, which the record has; the next life goes on from there, and so to the end.
    """
    signer = new_signer(tmp_path / "log.key")
    root = TrustRoot(version=1, keys=(trusted(KeyRole.LOG, signer),))
    shelf, folder = SqliteShelf(tmp_path / "store.db"), tmp_path / "log"
    chance = random.Random(20261129)
    heads: list[bytes] = []
    for life in range(LIVES):
        said = advance_until_killed(tmp_path, life * 1_000_000, chance.randint(1, 30))
        shown = files_in(folder)
        checkpoint = open_checkpoint(shown["checkpoint"], root).checkpoint
        assert checkpoint.size >= said
        assert checkpoint.size >= max((checkpoint_in(head).size for head in heads), default=0)
        check_shown(
            {name: shown[name] for name in shown if name != "checkpoint"}, shown["checkpoint"]
        )
        store = await shelf.open()
        recorded = await store.log_head(checkpoint.size)
        assert isinstance(recorded, LogHead)
        assert recorded.checkpoint == shown["checkpoint"]
        entries = list(await store.log_entries(0, checkpoint.size))
        assert entries_in(shown, checkpoint.size) == entries
        # What was ever shown is still in the record: no size was signed twice.
        for head in heads:
            older = await store.log_head(checkpoint_in(head).size)
            assert older is not None
            assert older.checkpoint == head
        heads.append(shown["checkpoint"])
        await store.close()
    assert checkpoint_in(heads[-1]).size > 256
