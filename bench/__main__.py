"""Run the benchmarks: `python -m bench [denied|cold|memory|warm|egress|gvisor ...]`.

`SHORT=1` is quick. `gvisor` starts a Docker Engine of its own and needs runsc, so it runs only when
it is named.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import cold, denied, egress, gvisor, memory, warm
from bench.figure import Figure, machine, table, write
from broker.config_template import Settings
from tests.broker_process import UNHURRIED, Folder, Served

# Elsewhere containers that are made ahead would fall into others' time.
_POOLED: Settings = {"pool": {"containers": 4}}


def main(wanted: list[str]) -> int:
    """Measure what is wanted, or all but gVisor; exit code 1 where the full form misses a bound."""
    short = os.environ.get("SHORT") == "1"
    benches: dict[str, Callable[[Served], list[Figure]]] = {
        "memory": memory.measure,
        "denied": lambda served: denied.measure(
            served, calls=1_000 if short else 4_000, blocks=5 if short else 15
        ),
        "cold": lambda served: cold.measure(served, pairs=30 if short else 60),
        "warm": lambda served: warm.measure(served, pairs=10 if short else 60),
        "egress": lambda _: egress.measure(rounds=5 if short else 20),
    }
    if unknown := set(wanted) - {*benches, "gvisor"}:
        print(f"no benchmark {', '.join(unknown)}: {', '.join(benches)}, gvisor", file=sys.stderr)
        return 2
    conditions = {"form": "short" if short else "full", **machine()}
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="toolwarrant-bench-") as place:
        made = Folder.make(Path(place) / "made")
        for name in wanted or benches:
            print(f"bench: {name}", file=sys.stderr)
            if name == "gvisor":
                figures += gvisor.measure(made, Path(place) / name, rounds=20 if short else 60)
                continue
            settings = {**UNHURRIED, **(_POOLED if name == "warm" else {})}
            with Served(made.copy(Path(place) / name, settings)) as served:
                figures += benches[name](served)
    print(table(figures, conditions))
    print(f"kept: {write(figures, conditions).relative_to(Path.cwd())}")
    # The short form shows that the benchmarks run; on a busy machine its figures decide nothing.
    return 0 if short or all(figure.is_met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
