"""Ask the host's kernel about gVisor's sentry, the process that stands between tool and kernel."""

from dataclasses import dataclass

from broker.adapters.docker_engine.process import process_of
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
    process = process_of(pid, container_id)
    if process is None:
        return None
    program, *arguments = process.argv
    if program != _PROGRAM:
        raise SandboxError(
            f"the runtime is not gVisor: its container's first process is {program[:100]!r}; mend "
            "the Engine's daemon.json",
            reason="SANDBOX_NOT_AS_DEMANDED",
        )
    wrong = process.differences(_WANTED)
    if wrong:
        raise SandboxError(
            "the kernel does not confirm gVisor's sentry: " + "; ".join(wrong),
            reason="SANDBOX_NOT_AS_DEMANDED",
        )
    return Sentry(arguments=tuple(arguments))
