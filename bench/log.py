"""Compare what the log costs when it is long with when it is short; measure an audit of it."""

import asyncio
import os
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
from broker.adapters.system import SystemClock, SystemEntropy
from broker.adapters.telemetry import Telemetry
from broker.core.ids import CallId
from broker.core.receipt import Position, ReceiptDraft
from broker.core.trust_root import KeyRole, TrustRoot
from broker.log import Log
from broker.ports import LogEntry, StoredReceipt
from broker.verify.audit import verify_log
from broker.verify.verdict import Validity
from tests.verify.log_vectors import checkpoint_of, new_keys, trusted
from tests.verify.mixed_log import MixedLog

SHORT_LOG = 10_000
_BATCH = 256
_ENTRY_BYTES = 1_000
AUDITED_EACH_S = 4_000
"""What a core is to verify."""
_AUDITS = 5
_BATCHED = 50


def measure(*, long: int, rounds: int, audited: int) -> list[Figure]:
    """Let two logs grow; measure appends and proofs of both in turns. Audit a third.

    Args:
        long: The size of the long one, a multiple of 256.
        rounds: How many appends and how many proofs are timed at each size.
        audited: How many calls began and ended in the log that is audited.
    """
    with tempfile.TemporaryDirectory(prefix="toolwarrant-bench-log-") as place:
        folder = Path(place)
        return [*asyncio.run(_measure(folder, long, rounds)), *_measure_audit(folder, audited)]


async def _measure(place: Path, long: int, rounds: int) -> list[Figure]:
    generate_key(place / "log.key")
    short_log = await _Grown.open(place, "short", SHORT_LOG // _BATCH * _BATCH)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    long_log = await _Grown.open(place, "long", long)
    after_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    appends: tuple[list[float], list[float]] = ([], [])
    proofs: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        # In turns, so that what else the machine does meanwhile falls on both.
        for grown, append_ms, proof_ms in zip((long_log, short_log), appends, proofs, strict=True):
            append_ms.append(await grown.append())
            proof_ms += [await grown.prove() for _ in range(10)]
    for grown in (short_log, long_log):
        await grown.store.close()
    sizes = f"{long} entries against {SHORT_LOG}, of {_ENTRY_BYTES} bytes; {rounds} rounds"
    return [
        _figure(f"log: append of {_BATCH} entries, shown", appends, sizes),
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


def _measure_audit(place: Path, calls: int) -> list[Figure]:
    """Verify a whole log on one core and on all of them; each call has an intent and a receipt."""
    keys = new_keys(place)
    root = TrustRoot(
        version=1, keys=(trusted(KeyRole.RECEIPT, keys.receipt), trusted(KeyRole.LOG, keys.log))
    )
    log = MixedLog(signer=keys.receipt)
    for number in range(calls):
        log.begin(number)
        log.end(number)
        if number % _BATCHED == 0:
            log.batch()
    head, size = checkpoint_of(log.entries, keys.log), len(log.entries)
    cores = os.cpu_count() or 1
    rates: dict[int, list[float]] = {1: [], cores: []}
    for _ in range(_AUDITS):
        for workers, found in rates.items():
            begun_s = time.perf_counter()
            verdict = verify_log(head, log.entries, root, workers=workers)
            found.append(size / (time.perf_counter() - begun_s))
            assert verdict.validity is Validity.VALID, verdict.message
    conditions = f"{size} entries: receipts, intents, a batch to {_BATCHED} calls; {_AUDITS} audits"
    return [
        Figure(
            name=f"log: audit with {workers} workers, entries/s against 4,000 a core",
            unit="/s",
            ours=statistics.median(found),
            theirs=float(AUDITED_EACH_S * workers),
            bound=1.0,
            at_most=False,
            conditions=conditions,
        )
        for workers, found in rates.items()
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
    """Put receipts into a store behind its back; give how many it has then."""
    with closing(sqlite3.connect(path, timeout=60)) as store, store:
        known: int = store.execute("SELECT coalesce(max(sequence), 0) FROM receipts").fetchone()[0]
        store.executemany(
            "INSERT INTO receipts VALUES (?1, 'call ' || ?1, 'agent', 0, '', randomblob(?2), NULL)",
            ((sequence, _ENTRY_BYTES) for sequence in range(known + 1, known + count + 1)),
        )
        store.executemany(
            "INSERT INTO log_entries VALUES (?1 - 1, 'receipt', ?1)",
            ((sequence,) for sequence in range(known + 1, known + count + 1)),
        )
    return known + count


def _no_leaf(entry: LogEntry) -> bytes:
    # For the same reason, and so that each entry of both logs costs the same.
    raise AssertionError(f"a log of receipts alone has the {entry.kind.value} {entry.index}")


def _no_seal(draft: ReceiptDraft, position: Position) -> bytes:
    # The receipts are put in behind the store's back, with their bytes: it seals none itself.
    raise AssertionError("a store that is only read and shown sealed a receipt")
