"""Each cause of a run's end, on a real container, with who says so."""

import asyncio
from collections.abc import Awaitable, Callable

import docker
import pytest

from broker.core.call import Cause
from broker.core.sandbox import Report
from tests.sandbox.bench import Bench, job, tool_runs

Run = Callable[[Bench, docker.APIClient], Awaitable[Report]]


def program(code: str, **more: object) -> Run:
    """Run a program to its end."""
    return lambda bench, _: bench.run(code, **more)  # type: ignore[arg-type]


def killed(cause: Cause) -> Run:
    """Run a program that is ended from outside."""

    async def run(bench: Bench, client: docker.APIClient) -> Report:
        sandbox = await bench.prepare(starts_ahead=False)
        running = asyncio.create_task(sandbox.run(job("import time; time.sleep(600)")))
        await tool_runs(client, sandbox)
        await sandbox.kill(cause)
        report = await running
        await sandbox.discard()
        return report

    return run


OF_A_CHILD = """
import subprocess, sys
subprocess.run([sys.executable, "-I", "-c", "x = bytearray(400 << 20)"])
"""
DAEMONS = """
import os, time
for _ in range(20):
    if os.fork() == 0:
        os.setsid()
        while True:
            os.fork() if len(os.listdir("/proc")) < 40 else time.sleep(0.001)
print("20 left")
"""
# Cause, exit code, limits that struck, who says the cause.
ENDS: dict[str, tuple[Run, tuple[Cause, int, tuple[str, ...], str]]] = {
    "exit": (program("raise SystemExit(3)"), (Cause.EXITED, 3, (), "launcher")),
    "signal": (
        program("import os; os.kill(os.getpid(), 11)"),
        (Cause.SIGNALLED, 139, (), "engine"),
    ),
    "oom": (program("x = bytearray(400 << 20)"), (Cause.MEMORY, 137, ("memory",), "cgroup")),
    "oom of a child": (program(OF_A_CHILD), (Cause.EXITED, 0, ("memory",), "launcher")),
    "timeout": (
        program("import time; time.sleep(600)", timeout_s=0.5),
        (Cause.TIMEOUT, 137, (), "broker"),
    ),
    "output cap": (
        program("while True: print('x' * 9999)", output_bytes=10_000),
        (Cause.OUTPUT_CAP, 137, ("output",), "broker"),
    ),
    "cancelled": (killed(Cause.CANCELLED), (Cause.CANCELLED, 137, (), "broker")),
    "halted": (killed(Cause.HALTED), (Cause.HALTED, 137, (), "broker")),
}


class TestCauses:
    """How a run ended, from outside."""

    @pytest.mark.parametrize("name", ENDS)
    async def test_each_has_its_source(
        self, bench: Bench, client: docker.APIClient, name: str
    ) -> None:
        """Cause, exit code, limits and usage are what was seen outside, and say by whom."""
        run, expected = ENDS[name]
        report = await run(bench, client)
        sources = dict(report.sources)
        said = (report.cause, report.exit_code, report.limits_hit, sources["cause"])
        assert said == expected
        outside = {
            "exit_code": "launcher" if expected[-1] == "launcher" else "engine",
            "limits_hit": "cgroup",
            "stderr": "tool",
            "stderr.size_bytes": "broker",
            "stdout": "tool",
            "stdout.size_bytes": "broker",
            "usage": "cgroup",
            "usage.files_bytes": "broker",
            "usage.wall_ms": "broker",
        }
        assert {field: sources[field] for field in outside} == outside
        usage = report.usage
        assert None not in (usage.cpu_ms, usage.max_memory_bytes, usage.max_pids)


class TestLastWord:
    """The launcher's word on an exit, beside what the kernel says is alive."""

    async def test_nobody_else_may_be_in_the_cgroup(self, bench: Bench) -> None:
        """While the kernel counts anything in it that lives on, the end is the Engine's to tell."""
        sandbox = await bench.prepare()
        folders = sandbox._container.cgroup.folders  # type: ignore[attr-defined]
        stranger = await asyncio.create_subprocess_exec("sleep", "600")
        try:
            folder = folders.get("pids") or folders["unified"]
            (folder / "cgroup.procs").write_text(str(stranger.pid))
            report = await sandbox.run(job("print(1)"))
        finally:
            stranger.kill()
            await stranger.wait()
        await sandbox.discard()
        assert (report.cause, report.exit_code) == (Cause.EXITED, 0)
        assert dict(report.sources)["exit_code"] == "engine"

    async def test_what_the_tool_left_running_is_dead_at_the_end(self, bench: Bench) -> None:
        """Where the launcher's word ends the wait, it is all that is left: daemons are dead."""
        sandbox = await bench.prepare()
        report = await sandbox.run(job(DAEMONS))
        alive = sandbox._container.cgroup.read()  # type: ignore[attr-defined]
        await sandbox.discard()
        assert (report.stdout.data, dict(report.sources)["cause"]) == (b"20 left\n", "launcher")
        assert alive is None or alive.tasks in (0, 1, None)
