"""Run the benchmarks: `python -m bench [NAME ...]`.

`SHORT=1` is quick. `gvisor` starts a Docker Engine of its own and needs runsc, so it runs only when
it is named, and keeps its own profile. Table, picture and profile stand in `bench/results/`.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench import (
    activation,
    audit,
    busy,
    cold,
    denied,
    egress,
    gvisor,
    hot_path,
    idle,
    log,
    memory,
    peer,
    policy,
    receipts,
    sustained,
    warm,
)
from bench.figure import Figure, machine, table, write
from bench.plot import draw
from broker.config_template import Settings
from tests.broker_process import UNHURRIED, Folder, Served

_WAITING = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """One benchmark with what its broker is set to besides.

    Elsewhere containers that are made ahead would fall into others' time.
    """

    measure: Callable[[Served], list[Figure]]
    settings: Settings = field(default_factory=dict)


_POOLED: Settings = {"pool": {"containers": _WAITING}}


def _benches(*, short: bool) -> Mapping[str, _Bench]:
    return {
        "memory": _Bench(measure=memory.measure),
        "denied": _Bench(
            measure=lambda served: denied.measure(
                served, calls=1_000 if short else 4_000, blocks=5 if short else 15
            )
        ),
        "activation": _Bench(
            measure=lambda served: activation.measure(
                served, seconds=2 if short else 5, rounds=1 if short else 6
            )
        ),
        "busy": _Bench(
            measure=lambda served: busy.measure(served, sandboxes=4, rounds=2 if short else 20)
        ),
        "cold": _Bench(measure=lambda served: cold.measure(served, pairs=30 if short else 60)),
        "warm": _Bench(
            measure=lambda served: warm.measure(served, pairs=10 if short else 60),
            settings=_POOLED,
        ),
        "peer": _Bench(
            measure=lambda served: peer.measure(served, rounds=3 if short else 30),
            settings=_POOLED,
        ),
        "idle": _Bench(
            measure=lambda served: idle.measure(served, seconds=5 if short else 60),
            settings=_POOLED,
        ),
        "egress": _Bench(measure=lambda _: egress.measure(rounds=5 if short else 20)),
        "log": _Bench(measure=lambda _: _log(short=short)),
    }


def _log(*, short: bool) -> list[Figure]:
    return [
        *receipts.measure(receipts=2_000 if short else 6_000, rounds=1 if short else 3),
        *log.measure(long=51_200 if short else 1_000_192, rounds=20 if short else 60),
        *audit.measure(calls=5_000 if short else 50_000, audits=1 if short else 3),
    ]


def main(wanted: list[str]) -> int:
    """Measure what is wanted, or all but gVisor; exit code 1 where the full form misses a bound."""
    short = os.environ.get("SHORT") == "1"
    benches = _benches(short=short)
    known = [*benches, "policy", "sustained", "profile", "gvisor"]
    if unknown := set(wanted) - set(known):
        print(f"no benchmark {', '.join(unknown)}: {', '.join(known)}", file=sys.stderr)
        return 2
    conditions = {"form": "short" if short else "full", **machine()}
    figures: list[Figure] = []
    try:
        for figure in _measured(wanted or known[:-1], benches, short=short):
            figures.append(figure)  # noqa: PERF402
    finally:
        # What was measured before another one failed took its time.
        _keep(figures, conditions)
    # The short form shows that the benchmarks run; on a busy machine its figures decide nothing.
    return 0 if short or all(figure.is_met for figure in figures) else 1


def _measured(wanted: list[str], benches: Mapping[str, _Bench], *, short: bool) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="toolwarrant-bench-") as folder:
        place = Path(folder)
        made = Folder.make(place / "made")
        for name in wanted:
            print(f"bench: {name}", file=sys.stderr)
            if name == "gvisor":
                yield from gvisor.measure(made, place / name, rounds=20 if short else 60)
            elif name == "policy":
                calls, recorded, rounds = (200, 200, 2) if short else (3_000, 2_000, 5)
                yield from policy.measure(
                    made, place / name, calls=calls, recorded=recorded, rounds=rounds
                )
            elif name == "sustained":
                calls, blocks = (32, 1) if short else (200, 2)
                yield from sustained.measure(made, place / name, calls=calls, blocks=blocks)
            elif name == "profile":
                profiled = hot_path.profile(made, place / name, calls=50 if short else 1_000)
                print(f"kept: {profiled.relative_to(Path.cwd())}")
            else:
                settings = {**UNHURRIED, **benches[name].settings}
                with Served(made.copy(place / name, settings)) as served:
                    yield from benches[name].measure(served)


def _keep(figures: list[Figure], conditions: dict[str, str]) -> None:
    print(table(figures, conditions))
    kept = write(figures, conditions)
    draw(figures, kept.with_suffix(".png"))
    print(f"kept: {kept.relative_to(Path.cwd())}, {kept.with_suffix('.png').name}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
