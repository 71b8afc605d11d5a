"""What a tool says of itself must stay its word."""

import json

from broker.core.call import Cause
from tests.sandbox.bench import Bench, Place, job

FRAMES = r"""
import os, struct
end = struct.pack(">cI", b"Z", 34) + bytes(34)
output = struct.pack(">cI", b"o", 12) + struct.pack(">Q", 0) + b"evil"
os.write(1, output + end)
"""

WRITE_TO_LAUNCHER = r"""
import json, os
tried = set()
for number in range(3):
    for mode in (os.O_RDONLY, os.O_WRONLY):
        try:
            os.open(f"/proc/1/fd/{number}", mode)
            tried.add("opened")
        except OSError as error:
            tried.add(os.strerror(error.errno))
print(json.dumps(sorted(tried)))
"""

SIGNALS = r"""
import os, signal, sys
sent = 0
for number in range(1, 65):
    try:
        os.kill(1, number)
        sent += 1
    except OSError:
        pass
print(sent, "sent")
sys.exit(5)
"""


INHERITED = """
import json, os, signal
blocked = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))
descriptors = os.listdir("/proc/self/fd")
leads = os.getsid(0) == os.getpid()
print(json.dumps([descriptors, sorted(os.environ), blocked, os.getcwd(), leads]))
"""


class TestForging:
    """A tool that speaks in the launcher's name."""

    async def test_frames_on_stdout_are_output(self, bench: Bench) -> None:
        """Frames that a tool prints are bytes of its output, whatever they say."""
        report = await bench.run(FRAMES + "raise SystemExit(9)")
        assert (report.cause, report.exit_code, report.outputs) == (Cause.EXITED, 9, ())
        assert report.stdout.data.startswith(b"o\x00\x00\x00\x0c")

    async def test_launcher_streams_cannot_be_opened(self, bench: Bench) -> None:
        """No descriptor of the launcher can be opened from below."""
        report = await bench.run(WRITE_TO_LAUNCHER)
        assert json.loads(report.stdout.data) == ["Permission denied"]

    async def test_first_process_streams_can_be_opened_elsewhere(
        self, place: Place, images: dict[str, str]
    ) -> None:
        """The twin: a first process that does not hide can be spoken for by its children."""
        attempt = f"subprocess.run([sys.executable, '-c', {WRITE_TO_LAUNCHER!r}])"
        code = f"import subprocess, sys; {attempt}"
        said = json.loads(place.twin(images["python_run"], code, user="65534"))
        assert "opened" in said

    async def test_signals_do_not_reach_the_launcher(self, bench: Bench) -> None:
        """A tool that sends every signal to the launcher is reported as it ended itself."""
        report = await bench.run(SIGNALS)
        assert (report.cause, report.exit_code, report.stdout.data) == (
            Cause.EXITED,
            5,
            b"64 sent\n",
        )

    async def test_end_is_not_before_the_tool_is_dead(self, bench: Bench) -> None:
        """A tool that fakes its end on stdout, then runs on, is still ended by its timeout."""
        report = await bench.run(FRAMES + "import time; time.sleep(600)", timeout_s=1)
        assert report.cause is Cause.TIMEOUT

    async def test_dying_of_a_signal_is_told_from_exiting(self, bench: Bench) -> None:
        """SIGSEGV is SIGNALLED with 139; leaving with 139 is EXITED."""
        killed = await bench.run("import os; os.kill(os.getpid(), 11)")
        left = await bench.run("import os; os._exit(139)")
        assert [(each.cause, each.exit_code) for each in (killed, left)] == [
            (Cause.SIGNALLED, 139),
            (Cause.EXITED, 139),
        ]

    async def test_killing_everything_is_the_tools_own_death(self, bench: Bench) -> None:
        """kill(-1) by the tool ends its own processes, not the launcher."""
        code = """
import os
if os.fork() == 0:
    os.read(os.pipe()[0], 1)
os.kill(-1, 9)
os.kill(os.getpid(), 9)
"""
        report = await bench.run(code)
        assert (report.cause, report.exit_code, report.limits_hit) == (Cause.SIGNALLED, 137, ())

    async def test_nothing_of_the_launcher_leaks_into_the_tool(self, bench: Bench) -> None:
        """A tool starts with three descriptors, a small environment, no signal ignored."""
        sandbox = await bench.prepare(command=("/usr/bin/python3", "-I", "-c", INHERITED))
        report = await sandbox.run(job("x"))
        await sandbox.discard()
        fds, environment, blocked, folder, leads = json.loads(report.stdout.data)
        assert (len(fds), blocked, folder, leads) == (4, [], "/workspace", True)
        assert environment == ["HOME", "LANG", "PATH", "PYTHONDONTWRITEBYTECODE"]
