"""Read from outside what a container used, from its cgroup files (v1 or v2)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_V1 = ("memory", "cpuacct", "pids")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a container has used so far; None where nobody could say."""

    cpu_ms: int | None = None
    max_memory_bytes: int | None = None
    oom_kills: int | None = None
    refused_forks: int | None = None
    max_pids: int | None = None
    tasks: int | None = None
    """Processes and threads in it at that moment; a zombie counts until it is reaped."""
    source: str = "nobody"
    """Who said so: `cgroup` or `engine`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cgroup:
    """The folders of one container's cgroup, by controller; `unified` for v2."""

    folders: Mapping[str, Path]

    def read(self) -> Spent | None:
        """Read the counters; None where the cgroup is gone, or was never visible from here."""
        spent = self._read_v1() if "memory" in self.folders else self._read_v2()
        return None if spent == Spent() else replace(spent, source="cgroup")

    def is_empty(self) -> bool:
        """Tell whether the kernel counts nobody in it any more, or let it be removed.

        A cgroup that was never visible from here is not known to be empty.
        """
        folder = self.folders.get("pids") or self.folders.get("unified")
        if folder is None:
            return False
        return _number(folder, "pids.current") == 0 or not folder.exists()

    def _read_v1(self) -> Spent:
        memory = self.folders["memory"]
        return Spent(
            cpu_ms=_scaled(_number(self.folders.get("cpuacct"), "cpuacct.usage"), 1_000_000),
            max_memory_bytes=_number(memory, "memory.max_usage_in_bytes"),
            oom_kills=_counter(memory, "memory.oom_control", "oom_kill"),
            refused_forks=_counter(self.folders.get("pids"), "pids.events", "max"),
            max_pids=_number(self.folders.get("pids"), "pids.peak"),
            tasks=_number(self.folders.get("pids"), "pids.current"),
        )

    def _read_v2(self) -> Spent:
        unified = self.folders.get("unified")
        return Spent(
            cpu_ms=_scaled(_counter(unified, "cpu.stat", "usage_usec"), 1_000),
            max_memory_bytes=_number(unified, "memory.peak"),
            oom_kills=_counter(unified, "memory.events", "oom_kill"),
            refused_forks=_counter(unified, "pids.events", "max"),
            max_pids=_number(unified, "pids.peak"),
            tasks=_number(unified, "pids.current"),
        )


def cgroup_of(pid: int, container_id: str) -> Cgroup:
    """Find the cgroup of a container by its first process.

    Empty where that process is not this container's as seen from here (an Engine elsewhere).
    """
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
        mounts = dict(_mounts(_MOUNTS.read_text(encoding="utf-8")))
    except OSError:
        return Cgroup(folders={})
    folders = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if container_id not in path:
            continue
        for name in controllers.split(",") if controllers else ["unified"]:
            if name in mounts:
                root, mount_point = mounts[name]
                folders[name] = mount_point / path.removeprefix(root).lstrip("/")
    return Cgroup(folders=folders)


def _mounts(text: str) -> Iterator[tuple[str, tuple[str, Path]]]:
    """Give controller with (root within the hierarchy, mount point). Source: proc(5)."""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        root, mount_point = before.split()[3:5]
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2":
            yield "unified", (root, Path(mount_point))
        elif kind == "cgroup":
            for name in set(options.split(",")) & set(_V1):
                yield name, (root, Path(mount_point))


def _number(folder: Path | None, file: str) -> int | None:
    text = _text(folder, file).strip()
    return int(text) if text.isdigit() else None


def _counter(folder: Path | None, file: str, key: str) -> int | None:
    for line in _text(folder, file).splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.isdigit():
            return int(value)
    return None


def _text(folder: Path | None, file: str) -> str:
    if folder is None:
        return ""
    try:
        return (folder / file).read_text(encoding="utf-8")
    except OSError:
        return ""


def _scaled(value: int | None, divisor: int) -> int | None:
    return None if value is None else value // divisor
