"""A container whose first process is killed before its tool has anything of the job."""

import asyncio
import os
import select
import signal

import docker
import pytest

from broker.adapters.docker_engine.first_process import hold
from broker.core.lifecycle import Step
from broker.core.outcome import read_report
from broker.errors import SandboxError
from broker.ports import Sandbox
from tests.sandbox.bench import Bench, job

# Every process's cgroups have a colon: as good as the container's id here.
ANY_CONTAINER = ":"


def first_pid(client: docker.APIClient, sandbox: Sandbox) -> int:
    """Give the host's number of a container's first process."""
    inspection = client.inspect_container(sandbox.enforced.container_id)
    return int(inspection["State"]["Pid"])


def kill(pid: int) -> None:
    """Kill a process; return when it is dead."""
    held = os.pidfd_open(pid)
    signal.pidfd_send_signal(held, signal.SIGKILL)
    death = select.poll()
    death.register(held, select.POLLIN)
    death.poll()
    os.close(held)


class TestBeforeTheJob:
    """What died while it waited."""

    async def test_is_not_fresh_before_the_engine_says_so(
        self, bench: Bench, client: docker.APIClient
    ) -> None:
        """The kernel tells of the death at once, so that no call gets such a container."""
        sandbox = await bench.prepare()
        assert sandbox.is_fresh
        kill(first_pid(client, sandbox))
        assert not sandbox.is_fresh
        await sandbox.discard()

    async def test_gets_no_job(self, bench: Bench, client: docker.APIClient) -> None:
        """A call that met one certainly never began."""
        sandbox = await bench.prepare()
        kill(first_pid(client, sandbox))
        with pytest.raises(SandboxError, match="nothing of the call was sent"):
            await sandbox.run(job("print(1)"))
        await sandbox.discard()


class TestHeld:
    """A process that is held."""

    async def test_its_death_is_waited_for(self) -> None:
        """The kernel wakes who waits, and goes on saying so."""
        process = await asyncio.create_subprocess_exec("sleep", "600")
        held = hold(process.pid, ANY_CONTAINER)
        waiting = asyncio.create_task(held.ended())
        await asyncio.sleep(0)
        told_before = waiting.done()
        process.kill()
        await waiting
        said = (held.is_held, held.has_ended, told_before)
        held.close()
        await process.wait()
        assert said == (True, True, False)


class TestWithTheJob:
    """What died with its job on the way."""

    async def test_may_have_begun(self, bench: Bench, client: docker.APIClient) -> None:
        """Where the job was sent, and the launcher said nothing, nobody knows what the tool got."""
        sandbox = await bench.prepare()
        pid = first_pid(client, sandbox)
        os.kill(pid, signal.SIGSTOP)
        running = asyncio.create_task(sandbox.run(job("print(1)")))
        # The stream takes the job whole, whoever reads it; nothing tells of that.
        while not sandbox._was_sent:  # type: ignore[attr-defined]  # noqa: ASYNC110
            await asyncio.sleep(0)
        kill(pid)
        report = await running
        await sandbox.discard()
        assert (read_report(report).step, report.exit_code) == (Step.INTERRUPT, 137)
        assert report.notes == ("the sandbox ended with code 137, its tool begun or not",)


def test_what_is_not_this_containers_is_not_held() -> None:
    """A process of another cgroup says nothing of the container's death."""
    held = hold(os.getpid(), "0" * 64)
    assert (held._held, held.has_ended) == (None, False)


def test_a_number_that_is_nobodys_is_not_held() -> None:
    """Where there is no such process on this machine, the Engine's word is waited for."""
    held = hold(1 << 22, "0" * 64)
    assert (held._held, held.has_ended) == (None, False)
