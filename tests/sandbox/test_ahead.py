"""Commands that are started before their job."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import docker
import pytest

from broker.core.call import Cause
from broker.core.sandbox import Report
from broker.core.secret import Secret
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
STRAGGLER = """
import os
if os.fork() == 0:
    os.setsid()
    os.read(os.pipe()[0], 1)
"""
LIVING = """
import os
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
            await tool_runs(client, sandbox)
        return await sandbox.run(job("x", **more))
    finally:
        await sandbox.discard()


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
    container = sandbox.enforced.container_id
    # The launcher alone is left, once the command has been there.
    while len((await asyncio.to_thread(client.top, container))["Processes"]) > 1:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    report = await sandbox.run(job("x"))
    await sandbox.discard()
    assert (report.cause, report.stdout.data) == (Cause.EXITED, b"xx")


async def test_nothing_of_one_that_did_not_wait_meets_the_job(
    bench: Bench, client: docker.APIClient
) -> None:
    """A process that such a command left behind is dead before it is started anew."""
    code = STRAGGLER + LIVING
    report = await met(bench, client, (*PYTHON, code), ahead=True)
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
    sandbox = await bench.prepare()
    assert replace(bench.profile, starts_ahead=True) == bench.profile
    await tool_runs(client, sandbox)
    cgroup = sandbox._container.cgroup  # type: ignore[attr-defined]
    used: list[int] = []
    while len(used) < 3 or used[-1] != used[-2]:
        used.append((await asyncio.to_thread(cgroup.read)).cpu_ms)
        await asyncio.sleep(0.2)
        assert len(used) < 50
    await sandbox.discard()
