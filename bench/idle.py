"""Watch what containers that wait cost while nobody calls."""

import os
import time
from pathlib import Path

import docker

from bench import bare
from bench.figure import Figure
from broker.core.pool import WINDOW_S
from tests.broker_process import DOCKER_URL, Served

_TICKS = os.sysconf("SC_CLK_TCK")
"""Of the kernel's clock, a second."""
_MIB = 2**20
_ALLOWED = 0.001
_CALLS = {
    "python_run": {"code": bare.CODE},
    "text_search": {"pattern": "x"},
    "workspace_list": {},
    "workspace_write": {"path": "notes.txt", "content": "x"},
}


def measure(served: Served, *, seconds: float) -> list[Figure]:
    """Measure a broker before and after containers wait for four tools.

    Args:
        served: Its pool has room for them.
        seconds: How long each side is left alone.
    """
    before_s = _idle(served, [], seconds)
    _fill(served)
    containers = served.containers()
    after_s = _idle(served, containers, seconds)
    peak = max(map(_memory_bytes, containers))
    return [
        Figure(
            name="processor time of a full pool while nobody calls / allowed",
            unit="ms/min",
            ours=max(after_s - before_s, 0) * 60_000 / seconds,
            theirs=_ALLOWED * 60_000,
            bound=1.0,
            conditions=f"{len(containers)} containers wait; broker, launchers and tools' commands "
            f"together over {seconds:g} s, less the same without a pool; allowed is {_ALLOWED:.1%} "
            f"of a core; a tick is {1000 // _TICKS} ms",
        ),
        Figure(
            name="memory of a waiting container / its limit",
            unit="MiB",
            ours=peak / _MIB,
            theirs=bare.python_run().limits.memory_bytes / _MIB,
            bound=1.0,
            conditions=f"the largest of {len(containers)}",
        ),
    ]


def _fill(served: Served) -> None:
    """Call each tool once, then wait until no call is of the last seconds any more."""
    agent = served.client("agent")
    for tool, arguments in _CALLS.items():
        agent.call(tool, arguments)
    time.sleep(WINDOW_S + 1)
    while len(served.containers()) != len(_CALLS):
        time.sleep(1)


def _idle(served: Served, containers: list[str], seconds: float) -> float:
    """Give the processor time that is used while nothing is asked for, in seconds."""
    begun_s = _used_s(served, containers)
    time.sleep(seconds)
    return _used_s(served, containers) - begun_s


def _used_s(served: Served, containers: list[str]) -> float:
    pids = [served.process.pid, *(pid for each in containers for pid in _pids(each))]
    return sum(map(_process_s, pids))


def _process_s(pid: int) -> float:
    # The name in the second field may hold spaces: what counts begins behind it.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _pids(container: str) -> list[int]:
    engine = docker.APIClient(DOCKER_URL)
    try:
        rows = engine.top(container)
    finally:
        engine.close()
    column = rows["Titles"].index("PID")
    return [int(row[column]) for row in rows["Processes"]]


def _memory_bytes(container: str) -> int:
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in _pids(container))
    return pages * os.sysconf("SC_PAGE_SIZE")
