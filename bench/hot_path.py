"""Profile a broker's calls: by step, by thread, by function of the event loop."""

import asyncio
import cProfile
import json
import pstats
import signal
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import bare, denied, profiles, steps
from broker.app import serve
from broker.client import Client
from broker.config_template import Settings
from broker.v1 import call_pb2
from tests.broker_process import UNHURRIED, Folder, Served

_WARM_UP = 50
_PAUSE_S = 0.3
_AT_ONCE = 3_200
_POOLED: Settings = {**UNHURRIED, "pool": {"containers": 4}}
_LEAVES_AT_ONCE = "print(sum(range(1000)), flush=True); import os; os._exit(0)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled:
    """A kind of call that is profiled, with the broker that takes it.

    Args:
        folder: Of a broker of its own.
        what: Names the kind.
        make: Makes such a call.
        calls: How many.
        pause_s: Before each.
        is_denied: By policy; then what 32 callers at once take is measured, too.
    """

    folder: Folder
    what: str
    make: Callable[[Client], call_pb2.Call]
    calls: int
    pause_s: float = 0.0
    is_denied: bool = False


def profile(made: Folder, place: Path, *, calls: int) -> Path:
    """Write where the time of one call goes, as text; give its path.

    Args:
        calls: How many of each kind; those that run come at leisure, so that a container waits.
    """
    refused = Profiled(
        folder=made.copy(place / "denied", UNHURRIED),
        what="a call that policy denies",
        make=_denied,
        calls=calls,
        is_denied=True,
    )
    warm = made.copy(place / "warm", _POOLED)
    return keep([refused, *waited_for(warm, max(calls // 10, 10))], "profile")


def waited_for(folder: Folder, calls: int) -> list[Profiled]:
    """Name the calls that find a container waiting, by the broker of a folder with a pool.

    The second kind leaves without the interpreter's exit: what is missing is that.
    """
    kinds = {"python_run": bare.CODE, "python_run, without an exit": _LEAVES_AT_ONCE}
    return [
        Profiled(
            folder=folder,
            what=f"{name}, a container waits",
            make=lambda agent, code=code: agent.call("python_run", {"code": code}),  # type: ignore[misc]
            calls=calls,
            pause_s=_PAUSE_S,
        )
        for name, code in kinds.items()
    ]


def keep(kinds: Sequence[Profiled], name: str) -> Path:
    """Profile kinds of calls one after the other; give the path of the text."""
    return profiles.keep(name, "\n".join(_text(kind) for kind in kinds))


def _denied(agent: Client) -> call_pb2.Call:
    return agent.call("workspace_read", {"path": ".env"})


def _text(kind: Profiled) -> str:
    dump = kind.folder.path / "profile"
    program = [sys.executable, "-m", "bench.hot_path", str(dump)]
    at_once: list[str] = []
    with Served(kind.folder, program=program) as served:
        agent = served.client("agent")
        for _ in range(min(_WARM_UP, kind.calls)):
            kind.make(agent)
        if kind.is_denied:
            at_once = asyncio.run(_by_thread(served, dump))
        calls = [_timed(kind, agent) for _ in range(kind.calls)]
        served.process.send_signal(signal.SIGUSR1)
        for _ in range(kind.calls):
            time.sleep(kind.pause_s)
            kind.make(agent)
    title = f"# {kind.what}, {kind.calls} calls, one after the other"
    table = profiles.functions(pstats.Stats(str(dump)), kind.calls, "the event loop")
    return "\n".join([title, *_by_step(calls, dump), *at_once, *table, ""])


def _timed(kind: Profiled, agent: Client) -> tuple[float, call_pb2.Call, float]:
    time.sleep(kind.pause_s)
    begun_s = time.time()
    call = kind.make(agent)
    return begun_s, call, time.time()


def _by_step(calls: Sequence[tuple[float, call_pb2.Call, float]], dump: Path) -> list[str]:
    """Say how long after the client's send calls pass their time stamps, with those of their runs.

    A step that only some of them pass says how many.
    """
    at = steps.read(_beside(dump, "steps"), [(begun_s, ended_s) for begun_s, _, ended_s in calls])
    for begun_s, call, ended_s in calls:
        passed = {
            name: getattr(call, f"{name}_at").ToNanoseconds() / 1e9
            for name in ("received", "decided", "started", "ended")
            if call.HasField(f"{name}_at")
        }
        for name, when_s in {**passed, "answered": ended_s}.items():
            at.setdefault(name, []).append((when_s - begun_s) * 1000)
    rows = sorted((statistics.median(times), name, len(times)) for name, times in at.items())
    some = {name: f"  ({count} of them)" for _, name, count in rows if count != len(calls)}
    return [f"{name:>18} {at_ms:8.2f} ms{some.get(name, '')}" for at_ms, name, _ in rows]


async def _by_thread(served: Served, dump: Path) -> list[str]:
    """Say what calls of 32 callers at once take of each thread, as the kernel counts."""
    async with denied.denied_side(served) as side:
        await side.at_once(_AT_ONCE)
        before = _cpu_ms(served.process.pid)
        rate = await side.at_once(_AT_ONCE)
        after = _cpu_ms(served.process.pid)
    served.process.send_signal(signal.SIGUSR2)
    # Its answer comes after the signal was taken.
    _denied(served.client("agent"))
    names = _names(dump)
    spent: Counter[str] = Counter()
    for thread, cpu_ms in after.items():
        spent[names.get(thread, "gRPC and others")] += cpu_ms - before.get(thread, 0.0)
    return [
        f"32 at once: {rate:.0f} a second; ms of each thread for a call",
        *(f"{name:>18} {cpu_ms / _AT_ONCE:8.3f} ms" for name, cpu_ms in spent.most_common(6)),
    ]


def _cpu_ms(pid: int) -> dict[int, float]:
    """Read what each thread of a process took so far, by its number. Source: proc(5), schedstat."""
    return {
        int(task.name): int((task / "schedstat").read_text().split()[0]) / 1e6
        for task in Path(f"/proc/{pid}/task").iterdir()
    }


def _names(dump: Path) -> dict[int, str]:
    named = json.loads(_beside(dump, "threads").read_text())
    return {int(number): str(name) for number, name in named.items()}


def _beside(dump: Path, what: str) -> Path:
    return dump.with_suffix(f".{what}")


def _note_threads(dump: Path) -> None:
    names = {each.native_id: each.name for each in threading.enumerate()}
    names[threading.main_thread().native_id] = "event loop"
    _beside(dump, "threads").write_text(json.dumps(names))


def _serve(dump: Path, config: Path) -> None:
    """Be the broker; its steps are noted, its threads at one signal, profiled from another on."""
    profiler = cProfile.Profile()
    signal.signal(signal.SIGUSR1, lambda *_: profiler.enable())
    signal.signal(signal.SIGUSR2, lambda *_: _note_threads(dump))
    steps.watch()
    try:
        serve(config)
    finally:
        profiler.disable()
        profiler.dump_stats(dump)
        steps.write(_beside(dump, "steps"))


if __name__ == "__main__":
    # As `toolwarrant serve --config CONFIG` is started.
    _serve(Path(sys.argv[1]), Path(sys.argv[-1]))
