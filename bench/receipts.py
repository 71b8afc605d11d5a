"""Measure how many receipts become durable in a second on one core, with how long each takes."""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.figure import Figure, quantiles
from bench.one_core import BARE, CALLERS, FOUND, Load

WANTED_EACH_S = 3_000
WANTED_P99_MS = 25.0


def measure(*, receipts: int, rounds: int) -> list[Figure]:
    """Measure all loads of `bench.one_core`, which keeps a profile, too.

    Args:
        receipts: How many each load of a round makes.
        rounds: How often all are measured in turns; one more is profiled.
    """
    with tempfile.TemporaryDirectory(prefix="toolwarrant-bench-receipts-") as place:
        command = [sys.executable, "-m", "bench.one_core", place, str(receipts), str(rounds)]
        # As a broker's, its log goes to a file.
        with (Path(place) / "log").open("w") as told:
            subprocess.run(command, stderr=told, check=True)
        loads = [Load(**each) for each in json.loads((Path(place) / FOUND).read_text())]
    names = dict.fromkeys(each.name for each in loads)
    conditions = f"{rounds} x {receipts} denied calls with 3 documents, one core, publishing"
    return [
        figure
        for name in names
        for figure in _figures(conditions, [each for each in loads if each.name == name])
    ]


def _figures(conditions: str, loads: Sequence[Load]) -> Iterator[Figure]:
    name = loads[0].name
    rates = [each.each_s for each in loads]
    waits_ms = [wait for each in loads for wait in each.waits_ms]
    share = sum(each.cpu_share for each in loads) / len(loads)
    if name == CALLERS:
        yield Figure(
            name=f"receipts: durable, {name}, /s against {WANTED_EACH_S:,}",
            unit="/s",
            ours=statistics.median(rates),
            theirs=float(WANTED_EACH_S),
            bound=1.0,
            at_most=False,
            conditions=f"{conditions}; {min(rates):.0f} to {max(rates):.0f}; {share:.0%} CPU",
        )
    yield Figure(
        name=f"receipts: p99 {'of' if name == BARE else 'to durable,'} {name}",
        unit="ms",
        ours=sorted(waits_ms)[len(waits_ms) * 99 // 100],
        theirs=WANTED_P99_MS,
        # Of the disk alone: no receipt is durable sooner than what it stands in.
        bound=None if name == BARE else 1.0,
        conditions=f"{conditions}; {statistics.median(rates):.0f}/s; {quantiles(waits_ms)}",
    )
