"""Kill a container's processes on this host, where the Engine or its runtime hangs."""

import os
import re
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path

_PROC = Path("/proc")
_ID = re.compile("[0-9a-f]{64}")
_SHIM = "containerd-shim"
_DEATH_S = 1.0


def kill_processes(container_id: str, *, is_gone: bool = False) -> int:
    """Kill whatever keeps a container from ending, wait until it is dead; return how many.

    Those are the processes in its cgroup (gVisor's sentry among them, which answers no `runsc kill`
    while it hangs), then the runtime's commands for it that never returned. Nothing is killed that
    does not name this container; on another machine, or without the right to, nothing at all.

    Args:
        container_id: The Engine's id in full, 64 hexadecimal digits.
        is_gone: Whether the Engine has removed it. A shim that is still there then was left by a
            containerd that died while it made the container, and ends with the rest; before, it is
            its Engine's to end, which learns from it how the container ended.

    Raises:
        ValueError: It is no such id; part of one could stand in anybody's command line.
    """
    if not _ID.fullmatch(container_id):
        raise ValueError(f"{container_id!r} is no container's id")
    belongs = partial(_belongs, container_id=container_id, is_gone=is_gone)
    with ExitStack() as stack:
        killed = [held for pid in list(_pids()) if (held := _kill(pid, belongs, stack))]
        _wait_for_deaths(killed)
        return len(killed)


def _wait_for_deaths(killed: list[int]) -> None:
    until_s = time.monotonic() + _DEATH_S
    for held in killed:
        death = select.poll()
        death.register(held, select.POLLIN)
        death.poll(max(0.0, until_s - time.monotonic()) * 1000)


def _pids() -> Iterator[int]:
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            yield int(entry.name)


def _kill(pid: int, belongs: Callable[[int], bool], stack: ExitStack) -> int | None:
    """Kill a process of the container; give a descriptor that is readable when it is dead."""
    if not belongs(pid):
        return None
    try:
        held = os.pidfd_open(pid)
        stack.callback(os.close, held)
        # Looked at again: held, its number can no longer become another process's.
        if not belongs(pid):
            return None
        signal.pidfd_send_signal(held, signal.SIGKILL)
    except OSError:
        return None
    return held


def _belongs(pid: int, *, container_id: str, is_gone: bool) -> bool:
    # `/docker/ID` by cgroupfs, `/system.slice/docker-ID.scope` by systemd.
    if container_id in _text(pid, "cgroup"):
        return True
    program, *arguments = _arguments(pid)
    if Path(program).name.startswith(_SHIM):
        return is_gone and ("-id", container_id) in pairwise(arguments)
    # A shim gives the runtime's commands the container's id beside a path of its bundle or log:
    # together they stand in no one else's command line.
    return container_id in arguments and any(
        f"/{container_id}" in argument for argument in arguments
    )


def _arguments(pid: int) -> list[str]:
    return _text(pid, "cmdline").rstrip("\0").split("\0")


def _text(pid: int, file: str) -> str:
    try:
        return (_PROC / str(pid) / file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
