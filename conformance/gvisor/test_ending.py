"""How runs end in gVisor: as elsewhere, but where the sentry is one process to the host."""

import os
import signal
from pathlib import Path

import docker
import pytest

from broker.core.call import Cause
from tests.sandbox import test_collection, test_forging, test_limits
from tests.sandbox.bench import MIB, Bench, Place, job
from tests.sandbox.test_limits import FORK_BOMB, MANY_FILES


class TestOutputs(test_collection.TestOutputs):
    """Files that a tool leaves in /out, on runsc."""

    async def test_a_device_cannot_be_made(self, place: Place, bench: Bench) -> None:
        """The sentry lets a tool make a node, of a device of its own; it is not collected."""
        report = await bench.run(test_collection.MAKE_DEVICE)
        assert (report.stdout.data, report.outputs) == (b"made\n", ())
        assert report.notes == ("/out/'null': not a regular file",)


class TestWorkspace(test_collection.TestWorkspace):
    """Files that go in, and their changes, on runsc."""


class TestForging(test_forging.TestForging):
    """A tool that speaks in the launcher's name, on runsc."""

    @pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM])
    async def test_signals_do_not_reach_the_launcher(self, bench: Bench, number: int) -> None:
        """No kernel shields the launcher here: a signal ends the sandbox, and the report says so.

        One at a time: of several the sentry takes SIGKILL first, whenever that one comes.
        """
        report = await bench.run(f"import os, time; os.kill(1, {int(number)}); time.sleep(600)")
        assert (report.cause, report.exit_code, report.limits_hit, report.notes) == (
            Cause.SIGNALLED,
            128 + number,
            (),
            (f"the launcher ended early with code {128 + number}",),
        )

    async def test_killing_its_sandbox_is_told_from_memory(self, bench: Bench) -> None:
        """A tool that kills its launcher ends with the 137 of an OOM kill, and by no limit."""
        killed = await bench.run("import os; os.kill(1, 9)")
        starved = await bench.run("x = bytearray(400 << 20)")
        found = [
            (each.cause, each.exit_code, each.limits_hit, dict(each.sources)["cause"])
            for each in (killed, starved)
        ]
        assert found == [
            (Cause.SIGNALLED, 137, (), "engine"),
            (Cause.MEMORY, 137, ("memory",), "engine"),
        ]


class TestMemory(test_limits.TestMemory):
    """A tool that takes more memory than it may, on runsc."""

    async def test_dies_of_its_own_memory(self, bench: Bench) -> None:
        """The sandbox is killed for memory; the Engine says so, and nobody what was used."""
        report = await bench.run("x = bytearray(400 << 20); print('alive')")
        assert (report.cause, report.exit_code, report.limits_hit, report.stdout.data) == (
            Cause.MEMORY,
            137,
            ("memory",),
            b"",
        )
        sources = dict(report.sources)
        assert (sources["cause"], sources["limits_hit.memory"]) == ("engine", "engine")
        assert ("usage" in sources, report.usage.max_memory_bytes) == (False, None)

    async def test_of_a_child_ends_nothing(self, bench: Bench) -> None:
        """To the host the sentry is one process: a child's memory ends the whole sandbox."""
        code = """
import subprocess, sys
subprocess.run([sys.executable, "-I", "-c", "x = bytearray(400 << 20)"])
print("lived on")
"""
        report = await bench.run(code)
        assert (report.cause, report.limits_hit, report.stdout.data) == (
            Cause.MEMORY,
            ("memory",),
            b"",
        )


class TestProcesses(test_limits.TestProcesses):
    """A tool that makes more processes than it may, or leaves some behind, on runsc."""

    async def test_fork_bomb_is_refused_at_the_limit(self, bench: Bench) -> None:
        """Forks beyond the limit fail inside; as gVisor refuses them nobody outside counts."""
        report = await bench.run(FORK_BOMB, memory_bytes=512 * MIB)
        assert (report.cause, report.limits_hit, report.stdout.data.splitlines()[-1]) == (
            Cause.EXITED,
            (),
            b"refused",
        )

    async def test_fork_bomb_fits_under_a_higher_limit(self, bench: Bench) -> None:
        """The twin: 300 processes are made where 400 are allowed, and memory for each."""
        report = await bench.run(FORK_BOMB, pids=400, memory_bytes=3072 * MIB, timeout_s=60)
        assert (report.limits_hit, report.stdout.data) == ((), b"all made\n")

    @pytest.mark.parametrize("pids", [4, 16])
    async def test_small_limit_starts(self, bench: Bench, pids: int) -> None:
        """A limit below the sentry's own threads still starts a sandbox, and holds inside it."""
        code = """
import os
made = 0
try:
    while made < 100:
        if os.fork() == 0: os.read(os.pipe()[0], 1)
        made += 1
except BlockingIOError:
    pass
print(made)
"""
        report = await bench.run(code, pids=pids)
        # The launcher and the tool's own process count too.
        assert int(report.stdout.data) == pids - 2


class TestTime(test_limits.TestTime):
    """A tool that would run longer than it may, on runsc."""


class TestOutput(test_limits.TestOutput):
    """A tool that writes more than it may, on runsc."""


class TestDisk(test_limits.TestDisk):
    """A tool that writes more files, or larger ones, than there is room for, on runsc."""

    async def test_million_files_end_at_the_inodes(self, bench: Bench) -> None:
        """gVisor's tmpfs counts no inodes, as is said; what comes back is capped all the same."""
        sandbox = await bench.prepare()
        report = await sandbox.run(job(MANY_FILES, timeout_s=60))
        await sandbox.discard()
        assert "tmpfs nr_inodes" in str(sandbox.enforced.facts["ignored_by_runtime"])
        assert (report.cause, report.stdout.data) == (Cause.EXITED, b"all made\n")
        assert ("files" in report.limits_hit, len(report.outputs)) == (True, 1000)

    async def test_files_without_number_end_at_the_memory(self, bench: Bench) -> None:
        """In the place of the inodes memory is the limit: files for ever end the sandbox."""
        code = """
number = 0
while True:
    open(f"/out/{number:0200}", "w").close()
    number += 1
"""
        report = await bench.run(code, timeout_s=100, memory_bytes=48 * MIB)
        assert (report.cause, report.limits_hit) == (Cause.MEMORY, ("memory",))


class TestTwinlessLimits(test_limits.TestTwinlessLimits):
    """Limits whose removal this machine should not be asked to bear, read back instead."""

    async def test_are_what_was_demanded(self, bench: Bench, profile: object) -> None:
        """The tool's limits stand as demanded; the host's count and the sentry have their own."""
        sandbox = await bench.prepare(pids=32)
        facts = sandbox.enforced.facts
        await sandbox.discard()
        names = ("runtime", "kernel", "pids", "host_pids", "kernel_confirmed", "sentry_confirmed")
        assert [facts[name] for name in names] == ["runsc", "gvisor", 32, 256, False, True]
        assert facts["ignored_by_runtime"] == ["tmpfs nodev", "tmpfs nr_inodes"]


def is_there(pid: int) -> bool:
    """Tell whether a process exists."""
    return Path(f"/proc/{pid}").exists()


class TestHungSentry:
    """A sandbox whose sentry answers nothing any more, `runsc kill` included."""

    async def test_is_ended_all_the_same(
        self, place: Place, client: docker.APIClient, profile: object, seccomp: str
    ) -> None:
        """The broker kills what is in the cgroup; the report says what ended it, all is gone."""
        engine = place.engine(seccomp=seccomp, grace_s=2)
        sandbox = await engine.prepare(profile, slot="s")  # type: ignore[arg-type]
        container = sandbox.enforced.container_id
        sentry = int(client.inspect_container(container)["State"]["Pid"])
        os.kill(sentry, signal.SIGSTOP)
        report = await sandbox.run(job("print(1)", timeout_s=1))
        await sandbox.discard()
        left = client.containers(all=True, filters={"id": container})
        await engine.close()
        assert (report.cause, report.exit_code, left) == (Cause.TIMEOUT, 137, [])
        assert not is_there(sentry)
