"""Profile the broker's event loop while calls are denied, then while containers wait for them."""

import cProfile
import pstats
import signal
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench import bare
from bench.figure import RESULTS
from broker.app import serve
from broker.client import Client
from broker.config_template import Settings
from broker.v1 import call_pb2
from tests.broker_process import UNHURRIED, Folder, Served

_SHOWN = 40
_WARM_UP = 50
_PAUSE_S = 0.3
_POOLED: Settings = {**UNHURRIED, "pool": {"containers": 4}}


def profile(made: Folder, place: Path, *, calls: int) -> Path:
    """Write where the time of one call goes, as text; give its path.

    Args:
        calls: How many of each kind; those that run come at leisure, so that a container waits.
    """
    RESULTS.mkdir(exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ")
    path = RESULTS / f"{stamp}.profile.txt"
    parts = [
        _part(
            made.copy(place / "denied", UNHURRIED), "a call that policy denies", _denied, calls, 0
        ),
        _part(
            made.copy(place / "warm", _POOLED),
            "python_run, a container waits",
            _warm,
            max(calls // 10, 10),
            _PAUSE_S,
        ),
    ]
    path.write_text("\n".join(parts))
    return path


def _denied(agent: Client) -> call_pb2.Call:
    return agent.call("workspace_read", {"path": ".env"})


def _warm(agent: Client) -> call_pb2.Call:
    return agent.call("python_run", {"code": bare.CODE})


def _part(
    folder: Folder,
    what: str,
    make: Callable[[Client], call_pb2.Call],
    calls: int,
    pause_s: float,
) -> str:
    dump = folder.path / "profile"
    program = [sys.executable, "-m", "bench.hot_path", str(dump)]
    with Served(folder, program=program) as served:
        agent = served.client("agent")
        for _ in range(min(_WARM_UP, calls)):
            make(agent)
        phases = _phases(agent, make, calls, pause_s)
        served.process.send_signal(signal.SIGUSR1)
        for _ in range(calls):
            time.sleep(pause_s)
            make(agent)
    return "\n".join(
        [f"# {what}, {calls} calls, one after the other", *phases, _table(dump, calls)]
    )


def _phases(
    agent: Client, make: Callable[[Client], call_pb2.Call], calls: int, pause_s: float
) -> list[str]:
    """Say when a call passes its own time stamps, in milliseconds from the client's send."""
    at: dict[str, list[float]] = {}
    for _ in range(calls):
        time.sleep(pause_s)
        begun_s = time.time()
        call = make(agent)
        passed = {
            name: getattr(call, f"{name}_at").ToNanoseconds() / 1e9
            for name in ("received", "decided", "started", "ended")
            if call.HasField(f"{name}_at")
        }
        for name, when_s in {**passed, "answered": time.time()}.items():
            at.setdefault(name, []).append((when_s - begun_s) * 1000)
    return [f"{name:>12} {statistics.median(times):8.2f} ms" for name, times in at.items()]


def _table(dump: Path, calls: int) -> str:
    """Write the functions that took most of the event loop's thread, profiled."""
    stats = pstats.Stats(str(dump))
    rows = [
        (own_s, total_s, count, f"{Path(file).name}:{line} {name}")
        for (file, line, name), (_, count, own_s, total_s, _) in stats.stats.items()  # type: ignore[attr-defined]
    ]
    lines = [f"{'own us':>9} {'total us':>9} {'times':>7}  a call's share of the loop, profiled"]
    for own_s, total_s, count, where in sorted(rows, reverse=True)[:_SHOWN]:
        own_us, total_us = own_s * 1e6 / calls, total_s * 1e6 / calls
        lines.append(f"{own_us:9.1f} {total_us:9.1f} {count / calls:7.2f}  {where}")
    return "\n".join(lines) + "\n"


def _serve(dump: str, config: str) -> None:
    """Be the broker, profiled from the signal on."""
    profiler = cProfile.Profile()
    signal.signal(signal.SIGUSR1, lambda *_: profiler.clear())
    profiler.enable()
    try:
        serve(Path(config))
    finally:
        profiler.disable()
        profiler.dump_stats(dump)


if __name__ == "__main__":
    # As `toolwarrant serve --config CONFIG` is started.
    _serve(sys.argv[1], sys.argv[-1])
