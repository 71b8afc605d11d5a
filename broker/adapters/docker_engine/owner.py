"""Name a broker's process, so that another broker can tell whether it lives."""

import os
from pathlib import Path

_MACHINE = Path("/proc/sys/kernel/random/boot_id")
# Of those behind the program's name in parentheses. Source: proc(5), fields 3 and 22.
_STATE, _STARTED = 0, 19
_DEAD = "ZX"


def this_process() -> str:
    """Name this process, as no other one ever was or will be; empty where /proc does not tell."""
    return _name(os.getpid())


def living(name: str) -> int | None:
    """Give the process id behind a name; None where it is dead, or cannot be seen from here."""
    pid = name.split(":")[1] if name.count(":") == 2 else ""
    return int(pid) if pid.isdecimal() and _name(int(pid)) == name else None


def _name(pid: int) -> str:
    try:
        machine = _MACHINE.read_text(encoding="ascii").strip()
        said = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = said.rpartition(")")[2].split()
    return "" if fields[_STATE] in _DEAD else f"{machine}:{pid}:{fields[_STARTED]}"
