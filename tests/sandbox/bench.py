"""Containers to try things in: ours through the engine, others by the SDK.

The tests run wherever a `Place` says: here on the host's Engine with runc, in `conformance/` on an
Engine of their own with other runtimes.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import Any

import docker

from broker.adapters.docker_engine import DockerEngine
from broker.core.catalog import Tool
from broker.core.sandbox import Collect, Job, Profile, Report
from broker.core.secret import Secret
from broker.ports import Sandbox

MIB = 1 << 20
WORKSPACE = (("a/b.txt", b"hello"), ("c.bin", b"\xff\x00"))
Call = Callable[..., Awaitable[Report]]
"""Calls a tool by name with arguments; `workspace`, `inputs`, `limits` may be given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An Engine, with the runtime that sandboxes and their twins get in it."""

    url: str
    runtime: str

    def engine(
        self, *, seccomp: str, boot: str = "b", workers: int = 2, **more: Any
    ) -> DockerEngine:
        """Make an engine, of an installation of its own unless one is named."""
        more.setdefault("installation", f"test-{token_hex(6)}")
        return DockerEngine(self.url, boot=boot, workers=workers, seccomp=seccomp, **more)

    def twin(self, image: str, code: str, **settings: Any) -> str:
        """Run a program in an ordinary container with these settings; give what it printed."""
        client = docker.DockerClient(self.url)
        settings.setdefault("network_mode", "none")
        try:
            return client.containers.run(
                image,
                ["/usr/bin/python3", "-c", code],
                remove=True,
                mem_limit="512m",
                runtime=self.runtime,
                **settings,
            ).decode()
        finally:
            client.close()


async def run_once(
    engine: DockerEngine, profile: Profile, tool: Tool, arguments: object, **more: Any
) -> Report:
    """Run a tool in a sandbox of its own; `more` changes the job."""
    sandbox = await engine.prepare(profile, slot=token_hex(4))
    usual = Job(
        arguments=json.dumps(arguments).encode(),
        workspace=(),
        inputs=(),
        timeout_s=tool.limits.timeout_s,
        output_bytes=tool.limits.output_bytes,
        collect=Collect.OUTPUTS,
    )
    try:
        return await sandbox.run(replace(usual, **more))
    finally:
        await sandbox.discard()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Runs programs in sandboxes made as for a tool."""

    engine: DockerEngine
    profile: Profile

    async def prepare(self, **changes: Any) -> Sandbox:
        """Make a sandbox, with the profile changed so."""
        return await self.engine.prepare(replace(self.profile, **changes), slot=token_hex(4))

    async def run(
        self, code: str, *, stdin: str = "", timeout_s: float = 20, **more: Any
    ) -> Report:
        """Run a Python program as `python_run` does, then discard the sandbox."""
        files = {name: more.pop(name) for name in ("workspace", "inputs") if name in more}
        caps = {
            name: more.pop(name) for name in ("output_bytes", "collect", "secrets") if name in more
        }
        sandbox = await self.prepare(**more)
        try:
            return await sandbox.run(job(code, stdin=stdin, timeout_s=timeout_s, **files, **caps))
        finally:
            await sandbox.discard()


def job(
    code: str,
    *,
    stdin: str = "",
    timeout_s: float = 20,
    output_bytes: int = MIB,
    workspace: Sequence[tuple[str, bytes]] = (),
    inputs: Sequence[tuple[str, bytes]] = (),
    collect: Collect = Collect.OUTPUTS,
    secrets: Sequence[Secret] = (),
) -> Job:
    """Make a job for `python_run`."""
    return Job(
        arguments=json.dumps({"code": code, "stdin": stdin}).encode(),
        workspace=tuple(workspace),
        inputs=tuple(inputs),
        timeout_s=timeout_s,
        output_bytes=output_bytes,
        collect=collect,
        secrets=tuple(secrets),
    )


def profile_of(tool: Tool, images: Mapping[str, str], **changes: Any) -> Profile:
    """Give the profile that a tool's definition asks for."""
    made = Profile(
        image=images[tool.image],
        command=tool.command,
        starts_ahead=tool.starts_ahead,
        runtime=tool.runtime,
        cpu_millicores=tool.limits.cpu_millicores,
        memory_bytes=tool.limits.memory_bytes,
        pids=tool.limits.pids,
        tmp_bytes=tool.limits.tmp_bytes,
    )
    return replace(made, **changes)


async def tool_runs(client: docker.APIClient, sandbox: Sandbox) -> None:
    """Return when a second process runs beside the launcher.

    It has its job where its profile does not start it ahead.
    """
    container = sandbox.enforced.container_id
    # The Engine has no event for a second process.
    while len((await asyncio.to_thread(client.top, container))["Processes"]) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
