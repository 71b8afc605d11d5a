"""Find out how well an Engine can hold tools in, and what would hold them better."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from broker.adapters.docker_engine.runtimes import Kernel, Runtime, registered
from broker.finding import Finding, fail, ok, warn

_GIVES = {
    Kernel.HOST: "shares the host's kernel",
    Kernel.GVISOR: "gVisor, a kernel of its own in user space",
    Kernel.VIRTUAL_MACHINE: "a virtual machine with a kernel of its own",
    Kernel.UNKNOWN: "isolation unknown to this broker",
}
_OWN_KERNEL = (Kernel.GVISOR, Kernel.VIRTUAL_MACHINE)
_ADD_GVISOR = "add gVisor to the Engine: docs/operating.md, Add gVisor"
_DEMAND = (
    'demand more: `runtime contains "runsc"` in a policy package, or `runtime: runsc` in tool.yaml'
)


def isolation(
    info: Mapping[str, Any], order: Sequence[str], tools: Mapping[str, str]
) -> list[Finding]:
    """Judge an Engine by its own word on itself.

    Args:
        info: What the Engine answers to `docker info`.
        order: `sandbox.runtimes` of the configuration, the weakest first.
        tools: Name of each tool with the runtime that its definition demands.
    """
    runtimes = registered(info)
    return [
        *(found for each in runtimes.values() for found in _runtime(each, order)),
        *_demanded(runtimes, order, tools),
        *_shared_kernel(runtimes, tools),
        *_engine(info),
    ]


def _runtime(runtime: Runtime, order: Sequence[str]) -> Iterator[Finding]:
    subject = f"runtime {runtime.name}"
    if not runtime.is_as_promised:
        said = f"its program is {runtime.program}, which {_GIVES[runtime.kernel]}"
        yield fail(subject, said, "mend it in the Engine's daemon.json: it is ranked by its name")
        return
    if runtime.name in order:
        rank = f"rank {order.index(runtime.name) + 1} of {len(order)}"
        yield ok(subject, f"{_GIVES[runtime.kernel]}; {rank}")
    else:
        remedy = "put it between weaker and stronger ones in [sandbox] runtimes, or leave it unused"
        yield warn(subject, f"{_GIVES[runtime.kernel]}; no rank, nobody can demand it", remedy)
    if not runtime.filters:
        said = "applies no seccomp profile: tools may use all of gVisor's system calls"
        yield warn(subject, said, "add --oci-seccomp to its runtimeArgs in daemon.json")
    if not runtime.opens_sockets:
        said = "opens no sockets that are mounted: tools with egress reach nothing in it"
        yield warn(subject, said, "add --host-uds=open to its runtimeArgs in daemon.json")


def _demanded(
    runtimes: Mapping[str, Runtime], order: Sequence[str], tools: Mapping[str, str]
) -> Iterator[Finding]:
    for name in sorted(set(tools.values())):
        users = ", ".join(sorted(tool for tool, wanted in tools.items() if wanted == name))
        if name not in runtimes:
            said = f"the Engine has no {name}, which {users} demand, but {', '.join(runtimes)}"
            yield fail("runtime", said, "add it to the Engine's daemon.json, or mend the tools")
        elif name not in order:
            said = f"{name}, which {users} demand, has no rank"
            yield fail("runtime", said, "put it in its place in [sandbox] runtimes")


def _shared_kernel(runtimes: Mapping[str, Runtime], tools: Mapping[str, str]) -> Iterator[Finding]:
    own = [name for name, each in runtimes.items() if each.kernel in _OWN_KERNEL]
    if not own:
        said = "no runtime here has a kernel of its own: a fault in the host's is a way out"
        yield warn("isolation", said, _ADD_GVISOR)
        return
    sharing = [
        tool
        for tool, wanted in sorted(tools.items())
        if wanted in runtimes and runtimes[wanted].kernel not in _OWN_KERNEL
    ]
    if sharing:
        said = f"{', '.join(sharing)} share the host's kernel where policy demands no more"
        yield warn("isolation", said, _DEMAND)


def _engine(info: Mapping[str, Any]) -> Iterator[Finding]:
    options = [_option(text) for text in info.get("SecurityOptions") or ()]
    names = {option["name"] for option in options if "name" in option}
    profile = next((each.get("profile") for each in options if each.get("name") == "seccomp"), None)
    if "seccomp" not in names:
        said = "the Engine cannot filter system calls, so that it makes no sandbox"
        yield fail("seccomp", said, "use a kernel and an Engine with seccomp")
    elif profile == "unconfined":
        said = "unconfined by default: tools get their own profile, other containers none"
        yield warn("seccomp", said, "take seccomp-profile out of the Engine's daemon.json")
    if "rootless" not in names:
        said = "the Engine runs as root: who takes it over has the host"
        yield warn("Engine", said, "run it rootless, or on a machine with nothing else on it")
        if "userns" not in names:
            said = "no remapping: uid 0 of a container is uid 0 of the host"
            remedy = 'set "userns-remap": "default" in daemon.json, then build the images again'
            yield warn("user namespaces", said, remedy)
    if str(info.get("CgroupVersion", "")) == "1":
        said = (
            "v1: an Engine that is not root can limit nothing with it, and kernels are dropping it"
        )
        yield warn("cgroup", said, "boot with systemd.unified_cgroup_hierarchy=1")


def _option(text: str) -> dict[str, str]:
    """Read `name=seccomp,profile=default`."""
    return dict(part.split("=", 1) for part in text.split(",") if "=" in part)
