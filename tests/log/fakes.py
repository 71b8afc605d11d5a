"""Keep what readers are shown in memory, as a folder keeps it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from broker.adapters.file_signer import FileSigner
from broker.adapters.system import SystemEntropy
from broker.core.checkpoint import Checkpoint, read_checkpoint
from broker.core.lifecycle import CallState
from broker.core.signed_note import read_note
from broker.core.tiles import WIDTH, Tile, read_bundle, read_hashes, tiles_between
from broker.core.witness import Answer
from broker.log import Log
from broker.ports import LogEntry, LogRecord, Store
from broker.verify.signature import is_signed
from broker.witnessing import Witnessing
from tests.core import rfc6962
from tests.ports import samples
from tests.ports.fake_clock import FakeClock
from tests.ports.memory_store import Fault
from tests.story.stage import Alarms

ORIGIN = "toolwarrant.invalid/test"


@dataclass
class MemoryFiles:
    """A `LogFiles` that outlives a broker; fails the test where readers would see a log go back.

    Set `faults` as those of a `MemoryDisk`: the number of a write with the way it fails. Clear
    `gate` to let writes wait, for which `waiting` is set.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    has_place: bool = False
    writes: int = 0
    faults: dict[int, Fault] = field(default_factory=dict)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    most_at_once: int = 0
    _at_once: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    async def is_there(self) -> bool:
        """Tell whether there is a place for files."""
        return self.has_place

    async def make(self) -> None:
        """Make the place."""
        self.has_place = True

    async def checkpoint(self) -> bytes | None:
        """Read the checkpoint that readers see."""
        return self.files.get("checkpoint")

    async def put(self, path: str, data: bytes) -> None:
        """Show one file."""
        assert self.has_place, "a head was recorded before there was a place to show it"
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        self.waiting.set()
        await self.gate.wait()
        self._at_once -= 1
        self.writes += 1
        fault = self.faults.pop(self.writes, None)
        if fault is Fault.BEFORE:
            raise OSError(fault.value)
        if path == "checkpoint":
            check_shown(self.files, data)
        elif path in self.files:
            assert self.files[path] == data, f"{path} is shown with other bytes than before"
        self.files[path] = data
        if fault is Fault.AFTER:
            raise OSError(fault.value)

    async def drop(self, path: str) -> None:
        """Remove what stands below a path."""
        for name in [name for name in self.files if name.startswith(f"{path}/")]:
            del self.files[name]


def checkpoint_in(data: bytes) -> Checkpoint:
    """Read a signed checkpoint."""
    return read_checkpoint(read_note(data).text)


def entries_in(files: Mapping[str, bytes], size: int) -> list[bytes]:
    """Read all entries of a log of this size as a reader of its files does."""
    entries = []
    for start in range(0, size, WIDTH):
        width = min(WIDTH, size - start)
        tile = Tile(level=None, index=start // WIDTH, width=width)
        entries += read_bundle(files[tile.path], width)
    return entries


def check_shown(files: Mapping[str, bytes], data: bytes) -> None:
    """Fail where a checkpoint about to be shown has no tiles, or is behind the one before it."""
    fresh = checkpoint_in(data)
    if "checkpoint" in files:
        assert checkpoint_in(files["checkpoint"]).size <= fresh.size, "the log went back"
    entries = entries_in(files, fresh.size)
    assert rfc6962.mth(entries) == fresh.root
    read = rfc6962.reader(entries)
    for tile in tiles_between(0, fresh.size):
        if tile.level is not None:
            assert read_hashes(files[tile.path], tile.width) == read(tile.nodes)


async def add_receipts(store: Store, first: int, count: int) -> None:
    """End so many calls, numbered from the first on."""
    for number in range(first, first + count):
        await store.commit(samples.first(samples.new_call(number, CallState.DENIED)))


def new_log(
    record: LogRecord,
    files: MemoryFiles,
    signer: FileSigner,
    *,
    alarms: Alarms | None = None,
    clock: FakeClock | None = None,
) -> Log:
    """Give the log of a record in one life of the broker."""
    return Log(
        record,
        files,
        signer,
        origin=ORIGIN,
        write=leaf_of,
        clock=clock or FakeClock(),
        entropy=SystemEntropy(),
        telemetry=alarms or Alarms(),
    )


class NobodyToAsk:
    """A `WitnessGateway` of a log without witnesses."""

    async def add_checkpoint(self, witness: str, body: bytes) -> Answer:
        """Fail the test."""
        raise AssertionError(f"{witness} is asked, though the log has no witnesses")


def without_witnesses(log: Log, record: LogRecord) -> Witnessing:
    """Give what readers ask of a log that nobody cosigns."""
    return Witnessing(
        log,
        record,
        NobodyToAsk(),
        [],
        quorum=0,
        is_signed=is_signed,
        clock=FakeClock(),
        telemetry=Alarms(),
    )


def leaf_of(entry: LogEntry) -> bytes:
    """Give some bytes for an entry that is no receipt, the same ones again for the same entry."""
    return f"{entry.kind.value} at {entry.index}".encode()
