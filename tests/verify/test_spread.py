"""Entries of a log are verified on every core, each by whoever reads it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from broker.core.tiles import WIDTH
from broker.core.trust_root import KeyRole, TrustRoot
from broker.errors import ReceiptInvalid
from broker.verify.entry import Judged
from broker.verify.log import open_checkpoint
from broker.verify.log_folder import LogFolder, TileRun
from broker.verify.spread import Judges
from broker.verify.verdict import Validity
from tests.verify.log_vectors import checkpoint_of, new_keys, trusted
from tests.verify.mixed_log import MixedLog
from tests.verify.test_audit import write_log

TILES = 9
"""As many as make a log worth processes, with one behind them that is not full."""


@dataclass(frozen=True)
class Noting:
    """Reads tiles, writing down which process did; processes take it with them."""

    folder: Path

    def __call__(self, level: int | None, index: int, width: int) -> list[bytes]:
        """Read a tile of entries."""
        (self.folder / f"{index}.read-by-{os.getpid()}").touch()
        end = index * WIDTH + width
        return list(*LogFolder(self.folder).entries(end).tiles(index * WIDTH, end))

    def readers(self) -> dict[int, int]:
        """Give the process that read each tile."""
        noted = [name.name.split(".read-by-") for name in self.folder.glob("*.read-by-*")]
        return {int(index): int(process) for index, process in noted}


@dataclass(frozen=True)
class Laid:
    """A log's folder with what verifies it."""

    folder: Path
    judges: Judges
    size: int
    root: TrustRoot

    def run(self) -> TileRun:
        """Give its entries, noting who reads them."""
        return TileRun(Noting(self.folder), None, self.size)


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laid]:
    """Give a folder, with a process beside this one that is ready to verify."""
    folder = tmp_path_factory.mktemp("log")
    keys = new_keys(tmp_path_factory.mktemp("keys"))
    root = TrustRoot(
        version=1, keys=(trusted(KeyRole.RECEIPT, keys.receipt), trusted(KeyRole.LOG, keys.log))
    )
    log = MixedLog(signer=keys.receipt)
    while len(log.entries) < (TILES - 1) * WIDTH + 10:
        log.tell("key.in_use")
    head = checkpoint_of(log.entries, keys.log)
    write_log(folder, log.entries, head)
    with Judges(root, open_checkpoint(head, root).checkpoint, 2) as judges:
        for each in judges.begin():
            each.result()
        yield Laid(folder, judges, len(log.entries), root)


def test_each_process_reads_its_tiles(laid: Laid) -> None:
    """Tiles are read by the process that verifies them; what is found comes in order."""
    found = list(laid.judges.judge(laid.run(), 0, laid.size))
    assert [each.index for each in found] == list(range(laid.size))
    assert {each.validity for each in found} == {Validity.VALID}
    readers = Noting(laid.folder).readers()
    assert sorted(readers) == list(range(TILES))
    # The other one was ready, so it was given the first.
    assert readers[0] != os.getpid()


def test_from_within_a_tile(laid: Laid) -> None:
    """Verification goes on in the midst of a tile, and ends where it is told to."""
    found = laid.judges.judge(laid.run(), 300, laid.size - 300)
    assert [each.index for each in found] == list(range(300, laid.size - 300))


def test_what_cannot_be_read(laid: Laid) -> None:
    """All before a tile that is missing are given first, whoever was to read it."""
    before: list[Judged] = []
    (laid.folder / "tile/entries/001").rename(laid.folder / "away")
    with pytest.raises(ReceiptInvalid, match="tiles: tile/entries/001: there is no such file"):
        before.extend(laid.judges.judge(laid.run(), 0, laid.size))
    (laid.folder / "away").rename(laid.folder / "tile/entries/001")
    assert [each.index for each in before] == list(range(WIDTH))


def test_each_entry_at_its_own_index(laid: Laid) -> None:
    """A key's bounds are looked at for each entry's place in the log, not in its tile."""
    receipt, log = laid.root.keys
    bounded = replace(laid.root, keys=(replace(receipt, valid_until_index=300), log))
    head = open_checkpoint(LogFolder(laid.folder).checkpoint(), bounded).checkpoint
    for start in (0, 290):
        found = Judges(bounded, head, 1).judge(laid.run(), start, 310)
        assert [each.step for each in found] == [None] * (300 - start) + ["validity"] * 10
