"""Compare what the log costs when it is long with what it costs when it is short."""

import asyncio
import random
import resource
import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from bench.figure import Figure, quantiles
from broker.adapters.file_signer import FileSigner, generate_key
from broker.adapters.log_files import LogFolder
from broker.adapters.sqlite_store import SqliteStore
from broker.adapters.sqlite_store.call_record import dump_call
from broker.adapters.system import SystemClock, SystemEntropy
from broker.adapters.telemetry import Telemetry
from broker.core.ids import CallId
from broker.core.receipt import Position, ReceiptDraft
from broker.log import Log
from broker.ports import LogEntry, StoredReceipt
from tests.verify.receipts import CALL

SHORT_LOG = 10_000
_BATCH = 256
_ENTRY_BYTES = 1_000


def measure(*, long: int, rounds: int) -> list[Figure]:
    """Let two logs grow; measure appends, reads and proofs of both in turns.

    Args:
        long: The size of the long one, a multiple of 256.
        rounds: How many appends are timed at each size; of reads and proofs ten times as many.
    """
    with tempfile.TemporaryDirectory(prefix="toolwarrant-bench-log-") as place:
        return asyncio.run(_measure(Path(place), long, rounds))


async def _measure(place: Path, long: int, rounds: int) -> list[Figure]:
    generate_key(place / "log.key")
    short_log = await _Grown.open(place, "short", SHORT_LOG // _BATCH * _BATCH)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    long_log = await _Grown.open(place, "long", long)
    after_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    appends: tuple[list[float], list[float]] = ([], [])
    gets: tuple[list[float], list[float]] = ([], [])
    proofs: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        # In turns, so that what else the machine does meanwhile falls on both.
        for side, grown in enumerate((long_log, short_log)):
            appends[side].append(await grown.append())
            gets[side].extend([await grown.get() for _ in range(10)])
            proofs[side].extend([await grown.prove() for _ in range(10)])
    for grown in (short_log, long_log):
        await grown.store.close()
    sizes = f"{long} entries against {SHORT_LOG}, of {_ENTRY_BYTES} bytes; {rounds} rounds"
    return [
        _figure(f"log: append of {_BATCH} entries, shown", appends, sizes),
        _figure("log: get of a call's receipt with its request", gets, sizes),
        _figure("log: inclusion proof", proofs, sizes),
        Figure(
            name="log: peak memory, with the long log and before it",
            unit="MiB",
            ours=after_kib / 1024,
            theirs=before_kib / 1024,
            bound=1.5,
            conditions=sizes,
        ),
    ]


def _figure(name: str, samples_ms: tuple[list[float], list[float]], sizes: str) -> Figure:
    long, short = samples_ms
    return Figure(
        name=name,
        unit="ms",
        ours=statistics.median(long),
        theirs=statistics.median(short),
        bound=1.5,
        conditions=f"{sizes}; long {quantiles(long)}; short {quantiles(short)}",
    )


@dataclass(slots=True, kw_only=True)
class _Grown:
    """A log that has come to a size."""

    path: Path
    store: SqliteStore
    log: Log
    size: int
    chance: random.Random

    @classmethod
    async def open(cls, place: Path, name: str, size: int) -> Self:
        """Make a log, let it grow some batches at a time."""
        path = place / f"{name}.db"
        store = await SqliteStore.open(path, seal=_no_seal, now=lambda: datetime.now(UTC))
        log = Log(
            store,
            LogFolder(place / name),
            FileSigner(f"file:{place / 'log.key'}"),
            origin="toolwarrant.invalid/bench",
            write=_no_leaf,
            clock=SystemClock(),
            entropy=SystemEntropy(),
            telemetry=Telemetry(),
        )
        await log.open()
        known = 0
        while known < size:
            known = _add(path, min(10 * _BATCH, size - known))
            while await log.advance():
                pass
        return cls(path=path, store=store, log=log, size=size, chance=random.Random(size))

    async def append(self) -> float:
        """Add a batch of receipts; give the milliseconds until readers are shown it."""
        _add(self.path, _BATCH)
        begun_s = time.perf_counter()
        await self.log.advance()
        return (time.perf_counter() - begun_s) * 1000

    async def get(self) -> float:
        """Read some call's receipt with its request document, as GetReceipt does; give the time."""
        wanted = CallId(f"{self.chance.randint(1, self.size):026d}")
        begun_s = time.perf_counter()
        call = await self.store.get_call(wanted)
        receipt = await self.store.receipt(wanted)
        document = await self.store.document(call.request_sha256) if call else None
        took_ms = (time.perf_counter() - begun_s) * 1000
        assert None not in (receipt, document), f"{wanted} has both"
        return took_ms

    async def prove(self) -> float:
        """Prove some receipt; give the milliseconds."""
        receipt = StoredReceipt(
            sequence=self.chance.randint(1, self.size),
            call=CallId(""),
            envelope=b"",
            at=datetime.now(UTC),
        )
        begun_s = time.perf_counter()
        await self.log.inclusion_proof(receipt)
        return (time.perf_counter() - begun_s) * 1000


def _add(path: Path, count: int) -> int:
    """Put calls with their receipts into a store behind its back; give how many it has then.

    By statements that make their own rows: a million of them are to take no minutes.
    """
    with closing(sqlite3.connect(path, timeout=60)) as store, store:
        known: int = store.execute("SELECT coalesce(max(sequence), 0) FROM receipts").fetchone()[0]
        given = {
            "first": known + 1,
            "last": known + count,
            "bytes": _ENTRY_BYTES,
            "record": dump_call(CALL),
        }
        for statement in _ROWS:
            store.execute(f"{_NUMBERS} {statement}", given)
    return known + count


_NUMBERS = """WITH RECURSIVE numbers (n) AS (
    SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n < :last
)"""
# No digest of a document is looked at here but as a key: spread as digests are, and no digest.
_DIGEST = "printf('%016x%048x', n * 2654435761 % 4294967296 * 4294967296, n)"
_ROWS = (
    f"""INSERT INTO calls SELECT printf('%026d', n), printf('%08d', n), 'agent', '', '', 'tool',
        'DENIED', 1, n, json_set(:record, '$.request_sha256', {_DIGEST}) FROM numbers""",
    f"""INSERT INTO content (sha256, kind, subject, call, bytes)
        SELECT {_DIGEST}, 'broker.request/v1', 'agent', printf('%026d', n),
        CAST('{{"body":{{"arguments":{{}}}}}}' AS BLOB) FROM numbers""",
    """INSERT INTO receipts SELECT n, printf('%026d', n), 'agent', 0, '', randomblob(:bytes), NULL
        FROM numbers""",
    "INSERT INTO log_entries SELECT n - 1, 'receipt', n FROM numbers",
)


def _no_leaf(entry: LogEntry) -> bytes:
    # For the same reason, and so that each entry of both logs costs the same.
    raise AssertionError(f"a log of receipts alone has the {entry.kind.value} {entry.index}")


def _no_seal(draft: ReceiptDraft, position: Position) -> bytes:
    # The receipts are put in behind the store's back, with their bytes: it seals none itself.
    raise AssertionError("a store that is only read and shown sealed a receipt")
