"""What the doctor says of an Engine's isolation, by the Engine's own word."""

from typing import Any

import pytest

from broker.adapters.docker_engine.runtimes import Kernel, Runtime, is_set, registered
from broker.finding import Level
from broker.isolation import isolation

ORDER = ("runc", "runsc", "kata")
RUNC = {"path": "runc"}
ARGUMENTS = ["--platform=systrap", "--oci-seccomp", "--host-uds=open"]
RUNSC = {"path": "/opt/bin/runsc", "runtimeArgs": ARGUMENTS}
TOOLS = {"careful": "runsc", "plain": "runc"}
GOOD: dict[str, Any] = {
    "Runtimes": {"runc": RUNC, "runsc": RUNSC},
    "SecurityOptions": ["name=seccomp,profile=default", "name=rootless", "name=cgroupns"],
    "CgroupVersion": "2",
}


def told(info: dict[str, Any], tools: dict[str, str] | None = None) -> set[tuple[Level, str]]:
    """Give level with subject of what is not well."""
    found = isolation(GOOD | info, ORDER, {"careful": "runsc"} if tools is None else tools)
    return {(each.level, each.subject) for each in found if each.level is not Level.OK}


class TestIsolation:
    """An Engine that is as recommended, and each thing that is weaker."""

    def test_nothing_to_say(self) -> None:
        """Rootless, cgroup v2, seccomp, gVisor for every tool: nothing is weaker."""
        assert told({}) == set()

    def test_names_every_runtime_with_its_isolation(self) -> None:
        """The Engine's runtimes stand there with what they give and their rank, shims left out."""
        runtimes = GOOD["Runtimes"] | {"io.containerd.runc.v2": RUNC}
        found = isolation(GOOD | {"Runtimes": runtimes}, ORDER, {})
        assert [(each.subject, each.said) for each in found] == [
            ("runtime runc", "shares the host's kernel; rank 1 of 3"),
            ("runtime runsc", "gVisor, a kernel of its own in user space; rank 2 of 3"),
        ]

    @pytest.mark.parametrize(
        ("info", "subject"),
        [
            ({"Runtimes": {"runc": RUNC}}, "isolation"),
            ({"SecurityOptions": ["name=seccomp,profile=default", "name=userns"]}, "Engine"),
            ({"SecurityOptions": ["name=seccomp,profile=unconfined", "name=rootless"]}, "seccomp"),
            ({"CgroupVersion": "1"}, "cgroup"),
            (
                {"Runtimes": {"runc": RUNC, "runsc": {"path": "runsc", "runtimeArgs": None}}},
                "runtime runsc",
            ),
            *(
                (
                    {"Runtimes": {"runc": RUNC, "runsc": RUNSC | {"runtimeArgs": less}}},
                    "runtime runsc",
                )
                for less in (ARGUMENTS[:2], [*ARGUMENTS, "--host-uds=none"], ARGUMENTS[::2])
            ),
            ({"Runtimes": GOOD["Runtimes"] | {"crun": {"path": "crun"}}}, "runtime crun"),
        ],
    )
    def test_weaker_is_a_warning(self, info: dict[str, Any], subject: str) -> None:
        """Each thing that is weaker than recommended is one warning, and no failure."""
        assert told(info, {}) == {(Level.WARN, subject)}

    def test_root_without_remapping_is_two(self) -> None:
        """An Engine that is root, without remapping, is warned of for both."""
        options = {"SecurityOptions": ["name=seccomp,profile=default"]}
        assert told(options) == {(Level.WARN, "Engine"), (Level.WARN, "user namespaces")}

    def test_tools_on_the_hosts_kernel(self) -> None:
        """Where gVisor is there, the tools that do not demand it are named."""
        assert told({}, TOOLS) == {(Level.WARN, "isolation")}
        said = " ".join(each.said for each in isolation(GOOD, ORDER, TOOLS))
        assert ("plain share" in said, "careful share" in said) == (True, False)

    @pytest.mark.parametrize(
        ("info", "tools", "subject"),
        [
            ({}, {"boxed": "kata"}, "runtime"),
            ({"Runtimes": GOOD["Runtimes"] | {"odd": RUNC}}, {"boxed": "odd"}, "runtime"),
            ({"Runtimes": {"runc": RUNC, "runsc": RUNC}}, {}, "runtime runsc"),
            ({"SecurityOptions": ["name=rootless"]}, {}, "seccomp"),
        ],
    )
    def test_what_cannot_run_fails(
        self, info: dict[str, Any], tools: dict[str, str], subject: str
    ) -> None:
        """A demanded runtime that is missing or unranked, an Engine without filters: failures."""
        assert (Level.FAIL, subject) in told(info, tools)

    def test_every_warning_has_a_remedy(self) -> None:
        """Nothing is said to be weak without what to do about it."""
        weak = {"Runtimes": {"runc": RUNC}, "SecurityOptions": [], "CgroupVersion": "1"}
        found = isolation(weak, ORDER, TOOLS)
        assert [each for each in found if (each.level is Level.OK) is bool(each.remedy)] == []


class TestRuntime:
    """What a registered runtime is."""

    @pytest.mark.parametrize(
        ("program", "kernel"),
        [
            ("runc", Kernel.HOST),
            ("/usr/bin/crun", Kernel.HOST),
            ("/usr/local/bin/runsc", Kernel.GVISOR),
            ("io.containerd.runsc.v1", Kernel.GVISOR),
            ("containerd-shim-runsc-v1", Kernel.GVISOR),
            ("/opt/kata/bin/kata-runtime", Kernel.VIRTUAL_MACHINE),
            ("io.containerd.kata.v2", Kernel.VIRTUAL_MACHINE),
            ("/opt/own/runscape", Kernel.UNKNOWN),
            ("", Kernel.UNKNOWN),
        ],
    )
    def test_kernel_by_program(self, program: str, kernel: Kernel) -> None:
        """The program tells whose kernel it is, whatever name the operator gave it."""
        assert Runtime(name="ours", program=program).kernel is kernel

    @pytest.mark.parametrize(
        ("arguments", "on"),
        [
            ((), False),
            (("--oci-seccomp",), True),
            (("-oci-seccomp=true",), True),
            (("--oci-seccomp=false",), False),
            (("--oci-seccomp", "--oci-seccomp=false"), False),
            (("oci-seccomp",), False),
            (("--oci-seccomp-not",), False),
        ],
    )
    def test_flag_as_go_reads_it(self, arguments: tuple[str, ...], on: bool) -> None:
        """A boolean flag counts by its last value, with one dash or two."""
        assert is_set(arguments, "oci-seccomp") is on

    def test_newer_entries_name_a_type(self) -> None:
        """An entry with a runtimeType in the place of a path is read as well."""
        found = registered({"Runtimes": {"g": {"runtimeType": "io.containerd.runsc.v1"}}})
        assert found["g"].kernel is Kernel.GVISOR
