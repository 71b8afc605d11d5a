"""An Engine that stops answering in the middle."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from broker.adapters.docker_engine import DockerEngine
from broker.core.call import Cause
from broker.core.sandbox import Profile
from broker.errors import SandboxError
from tests.sandbox.bench import Place, job, tool_runs


class Proxy:
    """Stands between broker and Engine; what it holds back, it holds back for good or for now."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.swallowed = b""
        self._pumps: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection both ways."""
        there = await asyncio.open_unix_connection(self._url.removeprefix("unix://"))
        for source, target in ((reader, there[1]), (there[0], writer)):
            pump = asyncio.create_task(self._pump(source, target))
            self._pumps.add(pump)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                if self.swallowed and self.swallowed in data:
                    continue
                await self.flowing.wait()
                target.write(data)
                await target.drain()
        except OSError:
            return
        finally:
            target.close()

    async def close(self) -> None:
        """Stop forwarding."""
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)


@pytest.fixture
async def proxy(place: Place, tmp_path: Path) -> AsyncIterator[Proxy]:
    """A proxy that forwards everything, until told otherwise."""
    proxy = Proxy(place.url)
    server = await asyncio.start_unix_server(proxy.serve, tmp_path / "proxy.sock")
    yield proxy
    server.close()
    await proxy.close()


@pytest.fixture
def behind(proxy: Proxy, tmp_path: Path, seccomp: str) -> DockerEngine:
    """An engine that reaches the real one through the proxy, with little patience."""
    return DockerEngine(
        f"unix://{tmp_path}/proxy.sock",
        installation=f"test-{secrets.token_hex(6)}",
        boot="b",
        workers=1,
        seccomp=seccomp,
        grace_s=1,
        start_s=4,
    )


class TestHungEngine:
    """Nothing waits for ever, nothing is left."""

    async def test_in_start_costs_one_deadline(
        self, proxy: Proxy, behind: DockerEngine, profile: Profile, client: docker.APIClient
    ) -> None:
        """An Engine that hangs in start is given up, its container removed."""
        proxy.swallowed = b"/start HTTP"
        with pytest.raises(SandboxError, match="start a container"):
            await behind.prepare(profile, slot=secrets.token_hex(4))
        left = client.containers(all=True, filters={"name": "toolwarrant-b-s"})
        await behind.close()
        assert left == []

    async def test_during_a_run_is_engine_lost(
        self, proxy: Proxy, behind: DockerEngine, profile: Profile, client: docker.APIClient
    ) -> None:
        """A run whose end nobody confirms says so, in bounded time; its container goes later."""
        sandbox = await behind.prepare(
            replace(profile, starts_ahead=False), slot=secrets.token_hex(4)
        )
        running = asyncio.create_task(sandbox.run(job("import time; time.sleep(600)")))
        await tool_runs(client, sandbox)
        proxy.flowing.clear()
        await sandbox.kill(Cause.CANCELLED)
        report = await running
        await sandbox.discard()
        proxy.flowing.set()
        await behind.sweep()
        container = sandbox.enforced.container_id
        left = client.containers(all=True, filters={"id": container})
        await behind.close()
        assert (report.cause, report.exit_code, left) == (Cause.ENGINE_LOST, None, [])
        sources = dict(report.sources)
        assert (sources["cause"], sources["exit_code"]) == ("broker", "nobody")
