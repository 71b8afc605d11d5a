"""Keep profiles beside the figures."""

import pstats
from datetime import UTC, datetime
from pathlib import Path

from bench.figure import RESULTS

_SHOWN = 40


def functions(stats: pstats.Stats, calls: int, what: str) -> list[str]:
    """Say which functions of a profiled thread took most, a line each, for one of the calls.

    Args:
        what: Whose time it is.
    """
    rows = [
        (own_s, total_s, count, f"{Path(file).name}:{line} {name}")
        for (file, line, name), (_, count, own_s, total_s, _) in stats.stats.items()  # type: ignore[attr-defined]
    ]
    lines = [f"{'own us':>9} {'total us':>9} {'times':>7}  {what}, a call's share, profiled"]
    for own_s, total_s, count, where in sorted(rows, reverse=True)[:_SHOWN]:
        own_us, total_us = own_s * 1e6 / calls, total_s * 1e6 / calls
        lines.append(f"{own_us:9.1f} {total_us:9.1f} {count / calls:7.2f}  {where}")
    return lines


def keep(name: str, text: str) -> Path:
    """Keep a profile as `bench/results/TIME.NAME.txt`; give its path."""
    RESULTS.mkdir(exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ")
    path = RESULTS / f"{stamp}.{name}.txt"
    path.write_text(text)
    return path
