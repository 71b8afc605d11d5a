"""Commands that are started before their job."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import docker
import pytest

from broker.core.call import Cause
from broker.core.sandbox import Report
from broker.core.secret import Secret
from broker.ports import Sandbox
from tests.sandbox.bench import WORKSPACE, Bench, job, tool_runs

PYTHON = ("/usr/bin/python3", "-I", "-c")
LOOK = """
import json, os, sys
before = os.listdir()
said = json.load(sys.stdin)
print(json.dumps([before, sorted(os.listdir()), os.getcwd(), said]))
"""
ONCE = """
import os
open("/tmp/started", "a").write("x")
os.write(1, open("/tmp/started", "rb").read())
"""
# Leaves a process behind, then tells who else is there.
STRAGGLER = """
import os
if os.fork() == 0:
    os.setsid()
    os.execv("/usr/bin/sleep", ["straggler", "600"])
print(sorted(int(each) for each in os.listdir("/proc") if each.isdigit() and each != "1"))
"""
ENVIRONMENT = "import os, sys; sys.stdin.read(); print(os.environ.get('API_TOKEN'))"


async def met(
    bench: Bench, client: docker.APIClient, command: Sequence[str], *, ahead: bool, **more: Any
) -> Report:
    """Give a job to a container whose command, where it is started ahead, is there by then."""
    sandbox = await bench.prepare(command=tuple(command), starts_ahead=ahead)
    try:
        if ahead:
            await _waits(client, sandbox)
        return await sandbox.run(job("x", **more))
    finally:
        await sandbox.discard()


async def _alone(client: docker.APIClient, sandbox: Sandbox, *others: str) -> None:
    """Return when nobody is there but the launcher and these."""
    while True:
        seen = await asyncio.to_thread(client.top, sandbox.enforced.container_id)
        running = [row[seen["Titles"].index("CMD")] for row in seen["Processes"]]
        if tuple(sorted(each for each in running if "launcher.py" not in each)) == others:
            return
        await asyncio.sleep(0.01)


async def _waits(client: docker.APIClient, sandbox: Sandbox) -> None:
    """Return when the command is there and has nothing to do but to read its arguments."""
    await tool_runs(client, sandbox)
    seen = await asyncio.to_thread(client.top, sandbox.enforced.container_id)
    place = Path("/proc") / seen["Processes"][-1][seen["Titles"].index("PID")] / "syscall"
    # The kernel tells which system call it is in, with its arguments: the first is the descriptor.
    while place.read_text().split()[1:2] != ["0x0"]:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(("ahead", "before"), [(True, []), (False, ["a", "c.bin"])])
async def test_arguments_and_files_come_to_a_command_that_waits(
    bench: Bench, client: docker.APIClient, ahead: bool, before: list[str]
) -> None:
    """Started ahead it finds its folder empty at first; with its arguments everything is there."""
    report = await met(bench, client, (*PYTHON, LOOK), ahead=ahead, workspace=WORKSPACE)
    assert (report.cause, report.exit_code) == (Cause.EXITED, 0)
    found, then, folder, said = json.loads(report.stdout.data)
    assert (sorted(found), then, folder) == (before, ["a", "c.bin"], "/workspace")
    assert said == {"code": "x", "stdin": ""}


async def test_one_that_did_not_wait_is_started_anew(
    bench: Bench, client: docker.APIClient
) -> None:
    """What it printed ahead of its job is nobody's; what it printed then comes once."""
    sandbox = await bench.prepare(command=(*PYTHON, ONCE), starts_ahead=True)
    await _alone(client, sandbox)
    report = await sandbox.run(job("x"))
    await sandbox.discard()
    assert (report.cause, report.stdout.data) == (Cause.EXITED, b"xx")


async def test_nothing_of_one_that_did_not_wait_meets_the_job(
    bench: Bench, client: docker.APIClient
) -> None:
    """A process that such a command left behind is dead before it is started anew."""
    sandbox = await bench.prepare(command=(*PYTHON, STRAGGLER), starts_ahead=True)
    await _alone(client, sandbox, "straggler 600")
    report = await sandbox.run(job("x"))
    await sandbox.discard()
    # Of the second start: itself with its own straggler.
    assert len(json.loads(report.stdout.data)) == 2


async def test_a_secret_starts_the_command_anew(bench: Bench, client: docker.APIClient) -> None:
    """The catalogue has no such tool; where one is given its secret all the same, it finds it."""
    secret = Secret(name="api_token", value=b"s3cr3t-Token/42")
    command = (*PYTHON, ENVIRONMENT)
    given = await met(bench, client, command, ahead=True, secrets=[secret])
    without = await met(bench, client, command, ahead=True)
    assert (given.stdout.data, without.stdout.data) == (b"[secret api_token]\n", b"None\n")


async def test_one_that_cannot_be_started_is_told_by_the_job(bench: Bench) -> None:
    """A container whose command is not there greets as any other, and refuses its job."""
    sandbox = await bench.prepare(command=("/no/such/command",), starts_ahead=True)
    with pytest.raises(Exception, match="cannot start '/no/such/command'"):
        await sandbox.run(job("x"))
    await sandbox.discard()


async def test_waiting_costs_no_processor_time(bench: Bench, client: docker.APIClient) -> None:
    """A command that waits for its arguments uses none."""
    sandbox = await bench.prepare(starts_ahead=True)
    await _waits(client, sandbox)
    cgroup = sandbox._container.cgroup  # type: ignore[attr-defined]
    before = cgroup.read()
    await asyncio.sleep(1)
    after = cgroup.read()
    await sandbox.discard()
    assert after.cpu_ms - before.cpu_ms <= 1
