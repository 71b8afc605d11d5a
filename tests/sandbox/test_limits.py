"""What must end within its limit, say which, leave nothing, while others are served."""

import asyncio

import pytest

from broker.core.call import Cause
from broker.core.sandbox import Profile
from tests.sandbox.bench import MIB, Bench, Place, job

FORK_BOMB = """
import os
refused = 0
for _ in range(300):
    try:
        if os.fork() == 0:
            os.read(os.pipe()[0], 1)
    except BlockingIOError:
        refused += 1
print("refused" if refused else "all made")
"""

FILL = """
import errno, sys
try:
    with open("/tmp/big", "wb") as file:
        for _ in range(24):
            file.write(bytes(1 << 20))
            file.flush()
    print("whole")
except OSError as error:
    print(errno.errorcode[error.errno])
"""

MANY_FILES = """
import errno
try:
    for number in range(1_000_000):
        open(f"/out/{number}", "w").close()
        if number > 20_000: break
    print("all made")
except OSError as error:
    print(errno.errorcode[error.errno])
"""

DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in (0, 1, 2):
            os.close(fd)
        time.sleep(600)
    os._exit(0)
os.wait()
print("left a daemon")
"""


class TestMemory:
    """A tool that takes more memory than it may."""

    async def test_dies_of_its_own_memory(self, bench: Bench) -> None:
        """The tool's own process is killed for memory, and the report says so from outside."""
        report = await bench.run("x = bytearray(400 << 20); print('alive')")
        assert (report.cause, report.exit_code, report.limits_hit, report.stdout.data) == (
            Cause.MEMORY,
            137,
            ("memory",),
            b"",
        )
        assert dict(report.sources)["cause"] == "cgroup"

    async def test_lives_where_the_limit_is_higher(self, bench: Bench) -> None:
        """The twin: with more memory the same program runs to its end."""
        report = await bench.run("x = bytearray(400 << 20); print('alive')", memory_bytes=600 * MIB)
        assert (report.cause, report.limits_hit, report.stdout.data) == (
            Cause.EXITED,
            (),
            b"alive\n",
        )

    async def test_of_a_child_ends_nothing(self, bench: Bench) -> None:
        """A child's OOM kill is named in limits_hit, and the tool goes on to its own end."""
        code = """
import subprocess, sys
child = subprocess.run([sys.executable, "-I", "-c", "x = bytearray(400 << 20)"])
print("child", child.returncode)
"""
        report = await bench.run(code)
        assert (report.cause, report.exit_code, report.limits_hit, report.stdout.data) == (
            Cause.EXITED,
            0,
            ("memory",),
            b"child -9\n",
        )

    async def test_in_tmpfs_counts_too(self, bench: Bench) -> None:
        """Files in tmpfs are memory: filling several of them ends at the memory limit."""
        code = """
for folder in ("/tmp", "/dev/shm", "/out", "/workspace"):
    with open(folder + "/big", "wb") as file:
        for _ in range(40):
            file.write(bytes(1 << 20))
"""
        report = await bench.run(code, tmp_bytes=64 * MIB, memory_bytes=64 * MIB)
        assert report.cause is Cause.MEMORY

    async def test_of_its_own_is_not_what_exit_code_137_means(self, bench: Bench) -> None:
        """A tool that leaves with 137 by itself, after a signal-free life, merely exited."""
        report = await bench.run("import os; os._exit(137)")
        assert (report.cause, report.exit_code) == (Cause.EXITED, 137)


class TestProcesses:
    """A tool that makes more processes than it may, or leaves some behind."""

    async def test_fork_bomb_is_refused_at_the_limit(self, bench: Bench) -> None:
        """Forks beyond the limit fail inside, the report names the limit, nothing is left."""
        report = await bench.run(FORK_BOMB)
        assert (report.cause, report.limits_hit, report.stdout.data.splitlines()[-1]) == (
            Cause.EXITED,
            ("pids",),
            b"refused",
        )

    async def test_fork_bomb_fits_under_a_higher_limit(self, bench: Bench) -> None:
        """The twin: 300 processes are made where 400 are allowed."""
        report = await bench.run(FORK_BOMB, pids=400, memory_bytes=512 * MIB)
        assert (report.limits_hit, report.stdout.data) == ((), b"all made\n")

    async def test_daemons_die_with_the_tool(self, bench: Bench) -> None:
        """A daemon in a session of its own, without our pipes, does not outlive the run."""
        report = await bench.run(DAEMON)
        assert (report.cause, report.stdout.data) == (Cause.EXITED, b"left a daemon\n")

    async def test_daemon_outlives_its_parent_elsewhere(
        self, place: Place, images: dict[str, str]
    ) -> None:
        """The twin: under a first process that does not kill, the same daemon lives on."""
        code = f"""
import os, subprocess, sys
subprocess.run([sys.executable, "-c", {DAEMON!r}])
print(len([name for name in os.listdir("/proc") if name.isdigit()]) - 1, "others live")
"""
        assert place.twin(images["python_run"], code).splitlines()[-1] == "1 others live"

    async def test_endless_forking_ends_with_its_parent(self, bench: Bench) -> None:
        """Processes that fork for ever are all dead when the report comes."""
        code = """
import os
for _ in range(4):
    if os.fork() == 0:
        os.setsid()
        while True:
            try:
                if os.fork() != 0:
                    os._exit(0)
            except BlockingIOError:
                pass
"""
        report = await bench.run(code)
        assert report.cause is Cause.EXITED


class TestTime:
    """A tool that would run longer than it may."""

    async def test_full_cpu_ends_at_the_timeout(self, bench: Bench) -> None:
        """An endless loop that ignores SIGTERM ends at its timeout, others are served meanwhile."""
        code = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True: pass
"""
        busy, other = await asyncio.gather(
            bench.run(code, timeout_s=2), bench.run("print('served')")
        )
        assert (busy.cause, busy.exit_code, other.stdout.data) == (
            Cause.TIMEOUT,
            137,
            b"served\n",
        )

    async def test_cpu_share_is_held_to_its_limit(self, bench: Bench) -> None:
        """A tenth of a processor gives a tenth of the time, as the cgroup counts it."""
        report = await bench.run("while True: pass", timeout_s=3, cpu_millicores=100)
        # The runtime's own start is in the same cgroup, before the quota has its first period.
        assert 0 < (report.usage.cpu_ms or 0) < report.usage.wall_ms // 10 + 300

    async def test_short_run_is_measured(self, bench: Bench) -> None:
        """Usage comes from the cgroup: what a short program used is known, and small."""
        report = await bench.run("print(1)")
        usage = report.usage
        assert dict(report.sources)["usage"] == "cgroup"
        assert 0 < (usage.cpu_ms or 0) < 5000
        assert MIB < (usage.max_memory_bytes or 0) < 128 * MIB

    async def test_running_on_with_closed_streams_ends_at_the_timeout(self, bench: Bench) -> None:
        """A tool that closes its streams is still waited for, and still ended."""
        code = "import os, time\nfor fd in (0, 1, 2): os.close(fd)\ntime.sleep(600)"
        report = await bench.run(code, timeout_s=1)
        assert report.cause is Cause.TIMEOUT

    async def test_closed_streams_do_not_hide_the_exit(self, bench: Bench) -> None:
        """A tool that closes its streams and leaves later is reported with its exit code."""
        code = "import os, time\nfor fd in (0, 1, 2): os.close(fd)\ntime.sleep(0.3)\nos._exit(7)"
        report = await bench.run(code)
        assert (report.cause, report.exit_code) == (Cause.EXITED, 7)

    async def test_never_reading_stdin_blocks_nothing(self, bench: Bench) -> None:
        """A command that never reads a megabyte of arguments runs, and ends, all the same."""
        sandbox = await bench.prepare(command=("/bin/sh", "-c", "echo done; exit 3"))
        report = await sandbox.run(job("x" * MIB))
        await sandbox.discard()
        assert (report.cause, report.exit_code, report.stdout.data) == (
            Cause.EXITED,
            3,
            b"done\n",
        )


class TestOutput:
    """A tool that writes more than it may."""

    @pytest.mark.parametrize(
        "code",
        [
            "import os\nwhile True: os.write(1, b'x' * 65536)",
            "import os\nwhile True: os.write(2, b'line\\n' * 4096)",
        ],
        ids=["endless-line", "endless-stderr"],
    )
    async def test_endless_output_is_cut_at_the_cap(self, bench: Bench, code: str) -> None:
        """A stream without an end is killed just past the cap, which is what is kept."""
        report = await bench.run(code, output_bytes=100_000)
        stream = report.stdout if report.stdout.size_bytes else report.stderr
        assert (report.cause, report.limits_hit) == (Cause.OUTPUT_CAP, ("output",))
        assert (len(stream.data), stream.truncated) == (100_000, True)
        assert 100_000 < stream.size_bytes < 400_000

    async def test_as_much_as_the_cap_is_no_fault(self, bench: Bench) -> None:
        """The twin: exactly the cap is kept whole."""
        report = await bench.run("print('x' * 99_999)", output_bytes=100_000)
        assert (report.cause, report.stdout.size_bytes, report.stdout.truncated) == (
            Cause.EXITED,
            100_000,
            False,
        )

    async def test_ends_although_daemons_hold_the_pipes(self, bench: Bench) -> None:
        """What a child still held open is drained, then the run ends with the tool."""
        code = """
import os, time
ours, theirs = os.pipe()
if os.fork() == 0:
    os.setsid()
    print("from the child", flush=True)
    os.write(theirs, b"x")
    time.sleep(600)
os.read(ours, 1)
"""
        report = await bench.run(code)
        assert (report.cause, report.stdout.data) == (Cause.EXITED, b"from the child\n")


class TestDisk:
    """A tool that writes more files, or larger ones, than there is room for."""

    async def test_filling_tmpfs_fails_inside(self, bench: Bench) -> None:
        """The tmpfs is as large as its limit; beyond it the tool gets ENOSPC."""
        report = await bench.run(FILL)
        assert (report.cause, report.stdout.data) == (Cause.EXITED, b"ENOSPC\n")

    async def test_more_room_takes_the_same_file(self, bench: Bench) -> None:
        """The twin: in a larger tmpfs the same file fits."""
        report = await bench.run(FILL, tmp_bytes=32 * MIB)
        assert report.stdout.data == b"whole\n"

    async def test_million_files_end_at_the_inodes(self, bench: Bench) -> None:
        """Inodes run out; what there is comes back up to the cap on files, and that is said."""
        report = await bench.run(MANY_FILES, timeout_s=30)
        assert (report.cause, report.stdout.data) == (Cause.EXITED, b"ENOSPC\n")
        assert ("files" in report.limits_hit, len(report.outputs)) == (True, 1000)

    async def test_million_files_find_room_elsewhere(
        self, place: Place, images: dict[str, str]
    ) -> None:
        """The twin: without the cap on inodes they are all made."""
        said = place.twin(images["python_run"], MANY_FILES, tmpfs={"/out": "size=64m,nr_inodes=0"})
        assert said == "all made\n"


class TestTwinlessLimits:
    """Limits whose removal this machine should not be asked to bear, read back instead."""

    async def test_are_what_was_demanded(self, bench: Bench, profile: Profile) -> None:
        """Memory without swap, processors, processes stand in the Engine as demanded."""
        sandbox = await bench.prepare()
        facts = sandbox.enforced.facts
        await sandbox.discard()
        found = {
            name: facts[name]
            for name in ("memory_bytes", "memory_swap_bytes", "cpu_millicores", "pids")
        }
        assert found == {
            "memory_bytes": profile.memory_bytes,
            "memory_swap_bytes": profile.memory_bytes,
            "cpu_millicores": profile.cpu_millicores,
            "pids": profile.pids,
        }
        assert facts["kernel_confirmed"] is True
