"""What a container in gVisor is created with, and what is said of it, by no gVisor."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from broker.adapters.docker_engine.runtimes import RUNC, Kernel, Runtime, demanded
from broker.adapters.docker_engine.sentry import Sentry, confirm_sentry
from broker.adapters.docker_engine.settings import differences, enforced, host_config
from broker.core.sandbox import Profile
from broker.errors import RuntimeMissing, SandboxError

PROFILE = Profile(
    image="sha256:x",
    command=("true",),
    runtime="runsc",
    cpu_millicores=1000,
    memory_bytes=1 << 27,
    pids=10,
    tmp_bytes=1 << 24,
)
FILTERED = Runtime(name="runsc", program="runsc", arguments=("--oci-seccomp",))
UNFILTERED = Runtime(name="runsc", program="runsc")
SECCOMP = "{}"
UID = 2_100_000_001
INFO = {"Runtimes": {"runc": {"path": "runc"}, "io.containerd.runc.v2": {"path": "runc"}}}
PATHS = {
    "MaskedPaths": [f"/proc/{name}" for name in ("kcore", "keys", "timer_list", "scsi")]
    + ["/sys/firmware"],
    "ReadonlyPaths": [f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger")],
}


def inspection(**host: Any) -> dict[str, Any]:
    """Give what an Engine would read back of a container made as demanded, with changes."""
    launcher = ["/usr/bin/python3", "-I", "-S", "-B", "/opt/toolwarrant/launcher.py"]
    config = {"User": f"{UID}:{UID}", "Entrypoint": [*launcher, "by-job", "true"], "Cmd": []}
    return {
        "Id": "c",
        "Image": PROFILE.image,
        "Config": {**config, "Tty": False, "Labels": {}},
        "State": {"Running": True},
        "Mounts": [],
        "NetworkSettings": {"Networks": {}},
        "HostConfig": {
            **host_config(PROFILE, uid=UID, seccomp=SECCOMP, runtime=FILTERED),
            **PATHS,
            **host,
        },
    }


def facts(runtime: Runtime, sentry: Sentry | None) -> dict[str, Any]:
    """Give the facts of a container in gVisor."""
    read = enforced(
        PROFILE,
        inspection(),
        uid=UID,
        seccomp=SECCOMP,
        labels={},
        kernel_confirmed=False,
        runtime=runtime,
        sentry=sentry,
    )
    return dict(read.facts)


class TestProcesses:
    """Two limits on processes, for two that count."""

    def test_gvisor_counts_the_tools(self) -> None:
        """The tool's limit is gVisor's to keep; the cgroup has room for the sentry beside."""
        host = host_config(PROFILE, uid=UID, seccomp=SECCOMP, runtime=FILTERED)
        assert host["PidsLimit"] == 4 * PROFILE.pids + 128
        assert {"Name": "nproc", "Soft": 10, "Hard": 10} in host["Ulimits"]

    def test_runc_leaves_it_to_the_cgroup(self) -> None:
        """The twin: on the host's kernel the cgroup has the limit itself, and no uid is counted."""
        host = host_config(PROFILE, uid=UID, seccomp=SECCOMP, runtime=RUNC)
        assert host["PidsLimit"] == PROFILE.pids
        assert [each["Name"] for each in host["Ulimits"]] == ["core", "nofile"]

    def test_another_limit_is_a_difference(self) -> None:
        """An Engine that made it with another count of processes is found out."""
        for change in ({"Ulimits": []}, {"PidsLimit": 0}):
            found = differences(
                PROFILE, inspection(**change), uid=UID, seccomp=SECCOMP, labels={}, runtime=FILTERED
            )
            assert [each.split()[0] for each in found] == list(change)


class TestFacts:
    """What the receipt says of gVisor."""

    @pytest.mark.parametrize(
        ("runtime", "sentry", "ignores"),
        [
            (FILTERED, None, False),
            (UNFILTERED, None, True),
            (FILTERED, Sentry(arguments=("boot",)), True),
            (UNFILTERED, Sentry(arguments=("--oci-seccomp=true", "boot")), False),
        ],
    )
    def test_the_sentrys_arguments_count(
        self, runtime: Runtime, sentry: Sentry | None, ignores: bool
    ) -> None:
        """Whether our filter applies is read from the running sentry, else from the Engine."""
        said = facts(runtime, sentry)
        assert ("seccomp" in said["ignored_by_runtime"]) is ignores
        assert (said["sentry_confirmed"], said["pids"], said["host_pids"]) == (
            sentry is not None,
            10,
            168,
        )


@pytest.fixture
def pretender() -> Iterator[int]:
    """A process that calls itself a sentry, without a filter of its own."""
    program = ["runsc-sandbox", "-c", "print(flush=True); import time; time.sleep(600)"]
    with subprocess.Popen(program, executable=sys.executable, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


class TestSentry:
    """The process that the host's kernel can say something of."""

    def test_without_its_filter_is_refused(self, pretender: int) -> None:
        """A sentry that the kernel does not filter takes no tool."""
        # Every process's cgroups have a colon: as good as the container's id here.
        with pytest.raises(SandboxError, match="does not confirm") as caught:
            confirm_sentry(pretender, ":")
        assert caught.value.reason == "SANDBOX_NOT_AS_DEMANDED"

    def test_of_another_container_is_none(self, pretender: int) -> None:
        """A process in another cgroup is not taken for the container's sentry."""
        assert confirm_sentry(pretender, "f" * 64) is None

    def test_another_program_is_refused(self) -> None:
        """A first process that is no sentry shows that the runtime is not gVisor."""
        with pytest.raises(SandboxError, match="is not gVisor") as caught:
            confirm_sentry(os.getpid(), ":")
        assert caught.value.reason == "SANDBOX_NOT_AS_DEMANDED"


class TestDemanded:
    """Which runtime the Engine gives for a name."""

    @pytest.mark.parametrize("name", ["runsc", "io.containerd.runc.v2", "", "RUNC"])
    def test_is_there_or_missing(self, name: str) -> None:
        """A name that nobody registered is missing; nothing stands in for it."""
        with pytest.raises(RuntimeMissing):
            demanded(INFO, name)

    @pytest.mark.parametrize(
        ("name", "program"),
        [("runsc", "/usr/bin/runc"), ("runsc-kvm", "crun"), ("kata", "runsc"), ("crun", "runsc")],
    )
    def test_program_that_its_name_belies_is_refused(self, name: str, program: str) -> None:
        """A weaker program under a stronger one's name, by which it is ranked, is refused."""
        with pytest.raises(SandboxError, match="not what it is called") as caught:
            demanded({"Runtimes": {name: {"path": program}}}, name)
        assert caught.value.reason == "SANDBOX_NOT_AS_DEMANDED"

    @pytest.mark.parametrize("program", ["/opt/wrapper.sh", "runsc", "runsc-2026"])
    def test_program_that_says_nothing_goes_by_its_name(self, program: str) -> None:
        """The twin: a wrapper, or the program itself, is what its name promises until seen."""
        found = demanded({"Runtimes": {"runsc": {"path": program}}}, "runsc")
        assert found.kernel is Kernel.GVISOR

    def test_registered_is_given(self) -> None:
        """The twin: a registered name is found."""
        assert demanded(INFO, "runc") == RUNC
