"""Tell what the Engine's container runtimes are, and what of a demand each keeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from typing import Any, cast

from broker.errors import RuntimeMissing, SandboxError

_FILTERS = "oci-seccomp"
_SOCKETS = "host-uds"
_OPEN = ("open", "all")
# The shim that the Engine starts its runtimes by, where the entry does not name a program.
_INTERNAL = ("io.containerd.runc.", "io.containerd.runtime.v1.")


class Kernel(Enum):
    """Whose kernel answers a tool's system calls."""

    HOST = "host"
    GVISOR = "gvisor"
    VIRTUAL_MACHINE = "virtual machine"
    UNKNOWN = "unknown"


_KERNELS = {
    "runc": Kernel.HOST,
    "crun": Kernel.HOST,
    "youki": Kernel.HOST,
    "runsc": Kernel.GVISOR,
    "kata": Kernel.VIRTUAL_MACHINE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A runtime as the Engine has it registered.

    Args:
        program: Its path, or the name of its shim.
        arguments: What the Engine passes to it each time.
    """

    name: str
    program: str
    arguments: tuple[str, ...] = ()

    @property
    def kernel(self) -> Kernel:
        """Whose kernel it gives, judged by its program, by its name where that says nothing."""
        program = PurePosixPath(self.program).name
        program = program.removeprefix("io.containerd.").removeprefix("containerd-shim-")
        return _kernel_of(program) or self.promised or Kernel.UNKNOWN

    @property
    def promised(self) -> Kernel | None:
        """Whose kernel its name promises, where it promises one."""
        return _kernel_of(self.name)

    @property
    def is_as_promised(self) -> bool:
        """Whether it is what its name says, by which it is ranked."""
        return self.promised in (None, self.kernel)

    @property
    def opens_sockets(self) -> bool:
        """Whether a tool can connect to sockets that are mounted: gVisor only when told so."""
        return self.kernel is not Kernel.GVISOR or value_of(self.arguments, _SOCKETS) in _OPEN

    @property
    def filters(self) -> bool:
        """Whether it applies the seccomp profile to the tool: gVisor does only when told so."""
        return self.kernel is not Kernel.GVISOR or filters(self.arguments)


def _kernel_of(word: str) -> Kernel | None:
    for known, kernel in _KERNELS.items():
        if word == known or word.startswith((f"{known}-", f"{known}.")):
            return kernel
    return None


RUNC = Runtime(name="runc", program="runc")
"""The one that every Engine has; the name is reserved for it."""


def filters(arguments: tuple[str, ...]) -> bool:
    """Tell whether gVisor, started with these arguments, applies the seccomp profile."""
    return is_set(arguments, _FILTERS)


def is_set(arguments: tuple[str, ...], flag: str) -> bool:
    """Tell whether a boolean flag is on, as Go's flag package reads it; the last one counts."""
    # A boolean flag may stand alone, and a value does not follow in an argument of its own.
    joined = tuple(each if "=" in each else f"{each}=true" for each in arguments)
    return value_of(joined, flag).lower() in ("1", "t", "true")


def value_of(arguments: tuple[str, ...], flag: str) -> str:
    """Give what follows a flag's `=`, in its last place; empty where it is nowhere."""
    found = ""
    for argument in arguments:
        name, _, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and name == flag:
            found = value
    return found


def registered(info: Mapping[str, Any]) -> dict[str, Runtime]:
    """Read the runtimes that somebody registered, by name, of the Engine's word on itself."""
    found = {}
    entries = cast("Mapping[str, Mapping[str, Any]]", info.get("Runtimes") or {})
    for name, entry in sorted(entries.items()):
        if name.startswith(_INTERNAL):
            continue
        found[name] = Runtime(
            name=name,
            program=str(entry.get("path") or entry.get("runtimeType") or ""),
            arguments=tuple(str(argument) for argument in entry.get("runtimeArgs") or ()),
        )
    return found


def demanded(info: Mapping[str, Any], name: str) -> Runtime:
    """Find the runtime that a profile demands.

    Raises:
        RuntimeMissing: The Engine does not have it; another one is never taken instead.
        SandboxError: Its program is not what its name promises, by which it was ranked.
    """
    there = registered(info)
    if name not in there:
        raise RuntimeMissing(name, tuple(there))
    runtime = there[name]
    if not runtime.is_as_promised:
        raise SandboxError(
            f"the Docker Engine's runtime {name!r} is {runtime.program}, not what it is called: "
            "mend the Engine's daemon.json",
            reason="SANDBOX_NOT_AS_DEMANDED",
        )
    return runtime
