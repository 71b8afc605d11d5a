"""Ask the host's kernel whether a container's first process is as locked down as demanded."""

from broker.adapters.docker_engine.process import process_of
from broker.adapters.docker_engine.settings import UID
from broker.errors import SandboxError

_WANTED = {
    "Uid": "\t".join([str(UID)] * 4),
    "Gid": "\t".join([str(UID)] * 4),
    "CapInh": "0" * 16,
    "CapPrm": "0" * 16,
    "CapEff": "0" * 16,
    "CapBnd": "0" * 16,
    "CapAmb": "0" * 16,
    "NoNewPrivs": "1",
    "Seccomp": "2",
}


def confirm_first_process(pid: int, container_id: str) -> bool:
    """Compare /proc/<pid>/status with what was demanded, once the launcher runs.

    Returns:
        True where the kernel confirmed it; False where it cannot be seen from here: an Engine on
        another machine, or a runtime whose process on the host is not the tool's.

    Raises:
        SandboxError: The kernel says otherwise.
    """
    process = process_of(pid, container_id)
    if process is None or process.status.get("Name") != "python3":
        return False
    wrong = process.differences(_WANTED)
    if wrong:
        raise SandboxError(
            "the kernel does not confirm the sandbox: " + "; ".join(wrong),
            reason="SANDBOX_NOT_AS_DEMANDED",
        )
    return True
