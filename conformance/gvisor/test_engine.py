"""What the engine makes of runsc, refuses, clears away; the shipped tools in gVisor."""

import os
import select
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import docker
import pytest

from broker.core.sandbox import Profile
from broker.errors import SandboxError
from tests.sandbox import test_death, test_engine, test_hung_engine, test_tools
from tests.sandbox.bench import Bench, Place
from tests.sandbox.test_engine import built, hung_engine
from tests.sandbox.test_hung_engine import behind, proxy

__all__ = ["behind", "built", "hung_engine", "proxy"]


class TestPrepare(test_engine.TestPrepare):
    """Making a sandbox, or refusing to, on runsc."""

    @pytest.mark.parametrize(
        ("runtime", "word"),
        [("runsc-belied", "not what it is called"), ("runsc-hidden", "is not gVisor")],
    )
    async def test_refuses_a_weaker_runtime_under_its_name(
        self, bench: Bench, runtime: str, word: str
    ) -> None:
        """runc under gVisor's name is found out, behind a wrapper by the process that runs."""
        with pytest.raises(SandboxError, match=word) as caught:
            await bench.prepare(runtime=runtime)
        assert caught.value.reason == "SANDBOX_NOT_AS_DEMANDED"


class TestRun(test_engine.TestRun):
    """Running, once, to an end that the Engine confirms, on runsc."""


class TestBeforeTheJob(test_death.TestBeforeTheJob):
    """What died while it waited, on runsc: the sentry is the first process."""


class TestClearing(test_engine.TestClearing):
    """Discard, sweep, close, on runsc."""


class TestHungEngine(test_hung_engine.TestHungEngine):
    """Nothing waits for ever, nothing is left, on runsc."""


class TestPythonRun(test_tools.TestPythonRun):
    """python_run, on runsc."""


class TestWorkspaceTools(test_tools.TestWorkspaceTools):
    """workspace_list, workspace_read, workspace_write, workspace_delete, on runsc."""


class TestHungRuntime:
    """A runtime whose own command never returns."""

    @pytest.mark.parametrize("command", ["create", "start"])
    async def test_costs_one_deadline(
        self,
        place: Place,
        client: docker.APIClient,
        profile: Profile,
        images: Mapping[str, str],
        seccomp: str,
        command: str,
    ) -> None:
        """It is given up, then its processes are killed and its container removed by the sweep."""
        engine = place.engine(seccomp=seccomp, boot="hung", grace_s=2, start_s=3)
        hanging = Profile(
            image=images["python_run"],
            command=profile.command,
            runtime=f"hangs-in-{command}",
            cpu_millicores=1000,
            memory_bytes=profile.memory_bytes,
            pids=32,
            tmp_bytes=profile.tmp_bytes,
        )
        with pytest.raises(SandboxError, match="start a container"):
            await engine.prepare(hanging, slot=command)
        name = {"name": f"toolwarrant-hung-{command}"}
        (container,) = (each["Id"] for each in client.containers(all=True, filters=name))
        await engine.sweep()
        left = client.containers(all=True, filters=name)
        await engine.close()
        assert (left, staying(container)) == ([], [])


def staying(container: str, seconds: float = 20) -> list[str]:
    """List the processes that name a container, the Engine's shim apart, and do not end soon.

    The clean-up that containerd asks of a runtime may outlive the container by a moment; what
    hangs here hangs for an hour.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError), ExitStack() as stack:
                held = os.pidfd_open(int(entry.name))
                stack.callback(os.close, held)
                command = (entry / "cmdline").read_text()
                if container not in command or "containerd-shim" in command:
                    continue
                ended, _, _ = select.select([held], [], [], seconds)
                if not ended:
                    found.append(command.replace("\0", " "))
    return found
