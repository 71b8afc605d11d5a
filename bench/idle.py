"""Watch what containers that wait cost while nobody calls."""

import os
import time
from pathlib import Path

import docker

from bench import bare
from bench.figure import Figure
from tests.broker_process import DOCKER_URL, Served

_TICKS = os.sysconf("SC_CLK_TCK")
"""Of the kernel's clock, a second."""
_MIB = 2**20
_ALLOWED = 0.001


def measure(served: Served, *, waiting: int, seconds: float) -> list[Figure]:
    """Measure a broker before and after its pool is full.

    Args:
        waiting: As many as its pool keeps, with calls at the rate that this function makes.
        seconds: How long each side is left alone.
    """
    before_s = _idle(served, [], seconds)
    _fill(served, waiting)
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


def _fill(served: Served, waiting: int) -> None:
    agent = served.client("agent")
    while len(served.containers()) < waiting:
        agent.call("python_run", {"code": bare.CODE})
        time.sleep(0.1)
    # What is being made, or removed, is over when nothing changes any more.
    seen: list[str] = []
    while (now := sorted(served.containers())) != seen:
        seen = now
        time.sleep(2)


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
