"""Measure `toolwarrant audit verify`: entries a second on one core as on all, memory by length."""

import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.figure import Figure
from broker.core.trust_root import KeyRole, TrustRoot, write_trust_root
from tests.broker_process import PROGRAM
from tests.verify.log_vectors import checkpoint_of, new_keys, trusted
from tests.verify.mixed_log import MixedLog
from tests.verify.test_audit import write_log

AUDITED_EACH_S = 4_000
"""What a core is to verify."""
_BATCHED = 50
# A small process between: what is measured of one that another begins is at least the other's size.
_MEASURED = """
import resource, subprocess, sys, time
begun_s = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(time.perf_counter() - begun_s, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
_LONGER = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Audited:
    """One run of the program, its start included; memory is that of its largest process."""

    each_s: float
    peak_mib: float


def measure(*, calls: int, audits: int) -> list[Figure]:
    """Audit a log with one process and with one for each core; then one of a tenth of its length.

    Args:
        calls: How many calls began and ended in the log.
        audits: How often each is audited, in turns.
    """
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="toolwarrant-bench-audit-") as place:
        long, size = Path(place) / "long", _write(Path(place) / "long", calls)
        short, few = Path(place) / "short", _write(Path(place) / "short", calls // _LONGER)
        found: dict[int, list[_Audited]] = {1: [], cores: []}
        small: list[_Audited] = []
        for _ in range(audits):
            for workers, audited in found.items():
                audited.append(_audit(long, size, workers))
            small.append(_audit(short, few, cores))
    conditions = f"{size} entries: receipts, intents, a batch to {_BATCHED} calls; {audits} audits"
    return [
        *(_rate(workers, audited, conditions) for workers, audited in found.items()),
        Figure(
            name=f"log: peak memory of an audit, {_LONGER} times as long",
            unit="MiB",
            ours=statistics.median(each.peak_mib for each in found[cores]),
            theirs=statistics.median(each.peak_mib for each in small),
            bound=1.1,
            conditions=f"{size} entries against {few}; {cores} processes, of which the largest",
        ),
    ]


def _rate(workers: int, audited: list[_Audited], conditions: str) -> Figure:
    rates = [each.each_s for each in audited]
    return Figure(
        name=f"log: audit by {workers} processes, /s against {AUDITED_EACH_S:,} a core",
        unit="/s",
        ours=statistics.median(rates),
        theirs=float(AUDITED_EACH_S * workers),
        bound=1.0,
        at_most=False,
        conditions=f"{conditions}, start included: {min(rates):.0f} to {max(rates):.0f}",
    )


def _write(place: Path, calls: int) -> int:
    """Lay a log out with its trust root; give how many entries it has."""
    place.mkdir()
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
    write_log(place / "log", log.entries, checkpoint_of(log.entries, keys.log))
    (place / "root").write_text(write_trust_root(root))
    return len(log.entries)


def _audit(place: Path, size: int, workers: int) -> _Audited:
    command = [str(PROGRAM), "audit", "verify", str(place / "log")]
    command += ["--trust-root", str(place / "root"), "--workers", str(workers)]
    measured = [sys.executable, "-c", _MEASURED, *command]
    done = subprocess.run(measured, stdout=subprocess.PIPE, text=True, check=True)
    took_s, peak_kib = map(float, done.stdout.split())
    return _Audited(each_s=size / took_s, peak_mib=peak_kib / 1024)
