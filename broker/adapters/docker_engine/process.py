"""Look at a container's first process as the host's kernel shows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class HostProcess:
    """What /proc says of a process. Source: proc(5).

    Args:
        argv: What it was started with; the program's name comes first.
        status: Fields of its `status` by name, without blanks around.
    """

    argv: tuple[str, ...]
    status: Mapping[str, str]

    def differences(self, wanted: Mapping[str, str]) -> list[str]:
        """List the fields that are not as wanted; one that the kernel leaves out is not."""
        return [
            f"{name} is {self.status.get(name)}, not {value}"
            for name, value in wanted.items()
            if self.status.get(name) != value
        ]


def process_of(pid: int, container_id: str) -> HostProcess | None:
    """Read a process; None where it is not this container's as seen from here."""
    folder = Path(f"/proc/{pid}")
    try:
        cgroups = (folder / "cgroup").read_text(encoding="utf-8")
        status = (folder / "status").read_text(encoding="utf-8")
        command = (folder / "cmdline").read_bytes()
    except OSError:
        return None
    if container_id not in cgroups:
        return None
    lines = [line.split(":\t", 1) for line in status.splitlines() if ":\t" in line]
    return HostProcess(
        argv=tuple(command.decode("utf-8", "replace").rstrip("\0").split("\0")),
        status={name: value.strip() for name, value in lines},
    )
