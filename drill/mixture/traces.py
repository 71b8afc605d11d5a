"""See what calls left behind: in the broker's process, on its disk, on its Engine."""

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from docker.constants import DEFAULT_NUM_POOLS

from tests.broker_process import Served
from tests.e2e.crash.own_engine import OwnEngine

# The broker sweeps every 30 s what it could not remove in time.
_SETTLED_S = 90.0
_LOOK_S = 0.2
_CONTAINERS = 4
# Pools that grow to a bound and stay: asyncio's own, the store's readers, the secrets' readers.
_POOLED_THREADS = min(32, (os.cpu_count() or 1) + 4) + 4 + 2
_KEPT_OPEN = {
    # By the SDK, to the Engine: a connection for each of so many paths, of some several.
    "unix connected": DEFAULT_NUM_POOLS + 2 * _CONTAINERS,
    # Standard input, and libuv's spare one for when there are no others, from the first stream on.
    "/dev/null": 2,
}
_ESTABLISHED = "01"
# An Engine that is killed while it makes a container leaves this mount of its own, of a container
# that never was: nobody else may touch it, and the Engine takes it away when it next stops.
_HALF_MADE = "-init/merged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """What a broker that does nothing has.

    Args:
        threads: How many, by the name that the kernel has for them.
        descriptors: How many, by what they are.
    """

    threads: Counter[str]
    descriptors: Counter[str]

    @classmethod
    def of(cls, pid: int) -> "Idle":
        """Look at a process."""
        return cls(threads=_threads(pid), descriptors=_descriptors(pid))

    def __str__(self) -> str:
        return f"{self.threads.total()} threads, {self.descriptors.total()} descriptors"


def more_than(before: Idle, now: Idle) -> dict[str, tuple[int, int]]:
    """Name what there is more of, with how many before and now; pools may be full meanwhile."""
    threads = (before.threads.total(), now.threads.total())
    more = {"threads": threads} if threads[1] > threads[0] + _POOLED_THREADS else {}
    for kind, count in now.descriptors.items():
        if count > max(before.descriptors[kind], _KEPT_OPEN.get(kind, 0)):
            more[kind] = (before.descriptors[kind], count)
    return more


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Where a drill takes place.

    Args:
        mounts: What was mounted below the Engine's folder before the first call.
    """

    served: Served
    engine: OwnEngine
    mounts: frozenset[str]

    def left(self) -> dict[str, list[str]]:
        """List what no call may leave, by what it is."""
        egress = self.served.folder.path / "egress"
        found = {
            "containers": self.engine.containers(),
            "processes": [_name(pid) for pid in self.engine.processes()],
            "shims": [_name(pid) for pid in self.engine.shims()],
            "mounts": sorted(
                mount
                for mount in {*self.engine.mounts(), *_mounts_below(egress)} - self.mounts
                if not mount.endswith(_HALF_MADE)
            ),
            "sockets of egress": [str(each) for each in egress.rglob("*")],
        }
        return {kind: each for kind, each in found.items() if each}

    def left_without_engine(self) -> list[str]:
        """Stop the Engine as an operator does; list what it leaves mounted."""
        self.engine.stop()
        return sorted(set(self.engine.mounts()) - self.mounts)

    def idle(self) -> Idle:
        """Look at the broker's process."""
        return Idle.of(self.served.process.pid)


Left = Mapping[str, object]


def settled(look: Callable[[], Left]) -> Left:
    """Look until nothing is left, for as long as tidying up may take; give what stays."""
    until_s = time.monotonic() + _SETTLED_S
    while (found := look()) and time.monotonic() < until_s:
        time.sleep(_LOOK_S)
    return found


def _name(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        command = "gone"
    return f"{pid} {' '.join(command.split(chr(0)))[:120]}"


def _mounts_below(folder: Path) -> set[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return {line.split()[1] for line in lines if f"{folder.resolve()}/" in line}


def _threads(pid: int) -> Counter[str]:
    names: Counter[str] = Counter()
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            names[(task / "comm").read_text().strip()] += 1
        except OSError:
            continue
    return names


def _descriptors(pid: int) -> Counter[str]:
    sockets = _sockets(pid)
    kinds: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        inode = re.fullmatch(r"socket:\[(\d+)\]", target)
        kinds[sockets.get(inode[1], "socket") if inode else re.sub(r"\[\d+\]", "", target)] += 1
    return kinds


def _sockets(pid: int) -> dict[str, str]:
    """Map inodes to what kind of socket they are."""
    kinds = {}
    for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        path = " ".join(fields[7:])
        kinds[fields[6]] = f"unix at {Path(path).name}" if path else "unix connected"
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{protocol}").read_text().splitlines()[1:]:
            fields = line.split()
            state = "connected" if fields[3] == _ESTABLISHED else f"in state {fields[3]}"
            kinds[fields[9]] = f"{protocol} {state}"
    return kinds
