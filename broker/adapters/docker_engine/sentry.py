"""Ask the host's kernel about gVisor's sentry, the process that stands between tool and kernel."""

from dataclasses import dataclass
from pathlib import Path

from broker.errors import SandboxError

_PROGRAM = "runsc-sandbox"
_WANTED = {"NoNewPrivs": "1", "Seccomp": "2"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentry:
    """A sentry that runs under a filter of its own; `arguments` are those it was started with."""

    arguments: tuple[str, ...]


def confirm_sentry(pid: int, container_id: str) -> Sentry | None:
    """Look at the process that the Engine names as a gVisor container's first.

    The tool's own processes exist in the sentry's kernel alone: the host's has no word on them.

    Returns:
        None where it cannot be seen from here: an Engine on another machine.

    Raises:
        SandboxError: It is no sentry, or the kernel does not hold it as it should.
    """
    try:
        cgroups = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    program, *arguments = command.decode("utf-8", "replace").rstrip("\0").split("\0")
    if container_id not in cgroups:
        return None
    if program != _PROGRAM:
        raise SandboxError(
            f"the runtime is not gVisor: its container's first process is {program[:100]!r}; mend "
            "the Engine's daemon.json",
            reason="SANDBOX_NOT_AS_DEMANDED",
        )
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    wrong = [
        f"{name} is {fields.get(name)}, not {wanted}"
        for name, wanted in _WANTED.items()
        if fields.get(name, "").strip() != wanted
    ]
    if wrong:
        raise SandboxError(
            "the kernel does not confirm gVisor's sentry: " + "; ".join(wrong),
            reason="SANDBOX_NOT_AS_DEMANDED",
        )
    return Sentry(arguments=tuple(arguments))
