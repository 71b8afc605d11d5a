"""What every sandbox engine does, the one in memory like the one on a real Docker Engine."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from broker.adapters.docker_engine import DockerEngine
from broker.adapters.image_builder import build_images
from broker.adapters.system import SystemClock
from broker.core.call import Cause
from broker.core.output import OutputBuffer, Source
from broker.core.sandbox import Collect, Job, Profile
from broker.core.secret import Secret
from broker.errors import SandboxError
from broker.ports import SandboxEngine
from broker.shipped import tools_dir
from tests.broker_process import DOCKER_URL
from tests.ports.fake_sandbox import SLEEP, ContainerHost, FakeSandboxEngine

Life = Callable[[str], SandboxEngine]


@pytest.fixture(scope="module")
def image() -> str:
    """The id of the image that runs Python."""
    return build_images(DOCKER_URL, tools_dir(), lambda _: None)["python_run"]


@pytest.fixture(params=["fake", "docker"])
async def life(request: pytest.FixtureRequest) -> AsyncIterator[Life]:
    """Give engines of one installation, by the name of the broker's life; cleared at the end."""
    engines: list[SandboxEngine] = []
    host, clock, installation = ContainerHost(), SystemClock(), f"test-{secrets.token_hex(6)}"

    def begin(boot: str) -> SandboxEngine:
        if request.param == "fake":
            engines.append(FakeSandboxEngine(host, clock, boot=boot))
        else:
            seccomp = (tools_dir() / "seccomp.json").read_text()
            docker = DockerEngine(
                DOCKER_URL, installation=installation, boot=boot, workers=2, seccomp=seccomp
            )
            engines.append(docker)
        return engines[-1]

    yield begin
    assert await begin("the last").sweep() == 0
    for engine in engines:
        await engine.close()


@pytest.fixture
def profile(image: str) -> Profile:
    """What a container is made with."""
    return Profile(
        image=image,
        command=("/usr/bin/python3", "-I", "-B", "/opt/toolwarrant/python_run.py"),
        runtime="runc",
        cpu_millicores=1000,
        memory_bytes=128 << 20,
        pids=32,
        tmp_bytes=16 << 20,
    )


def job(code: str, timeout_s: float = 60) -> Job:
    """Give the job of running a program."""
    return Job(
        arguments=json.dumps({"code": code}).encode(),
        workspace=(),
        inputs=(),
        timeout_s=timeout_s,
        output_bytes=65536,
        collect=Collect.OUTPUTS,
    )


class TestRun:
    async def test_ends(self, life: Life, profile: Profile) -> None:
        """A tool that ends is reported with its code and its output."""
        sandbox = await life("now").prepare(profile, slot="slot-1")
        assert sandbox.slot == "slot-1"
        assert sandbox.enforced.facts["image"] == profile.image
        report = await sandbox.run(job("print('done')"))
        await sandbox.discard()
        assert (report.cause, report.exit_code) == (Cause.EXITED, 0)
        assert report.stdout.data == b"done\n"

    async def test_secrets(self, life: Life, profile: Profile) -> None:
        """A run that got secrets names them, in the order given."""
        secrets = tuple(Secret(name=name, value=b"0123456789ab") for name in ("b", "a"))
        sandbox = await life("now").prepare(profile, slot="slot-1")
        report = await sandbox.run(replace(job("print('done')"), secrets=secrets))
        await sandbox.discard()
        assert (report.secrets, report.redactions) == (("b", "a"), 0)

    async def test_sink(self, life: Life, profile: Profile) -> None:
        """A sink gets what the tool writes; the report has what it kept, its end included."""

        class Signing(OutputBuffer):
            def end(self) -> None:
                self.take(Source.STDOUT, b"signed")
                super().end()

        sandbox, sink = await life("now").prepare(profile, slot="slot-1"), Signing(65536)
        report = await sandbox.run(job("print('done')"), sink)
        await sandbox.discard()
        assert sink.is_ended
        assert report.stdout.data == b"done\nsigned"

    async def test_sink_of_a_killed_run(self, life: Life, profile: Profile) -> None:
        """However a run ends, its sink is told that nothing more comes."""
        sandbox, sink = await life("now").prepare(profile, slot="slot-1"), OutputBuffer(65536)
        running = asyncio.ensure_future(sandbox.run(job(SLEEP), sink))
        await asyncio.sleep(0)
        await sandbox.kill(Cause.HALTED)
        await running
        await sandbox.discard()
        assert sink.is_ended

    async def test_once(self, life: Life, profile: Profile) -> None:
        """A sandbox is used once."""
        sandbox = await life("now").prepare(profile, slot="slot-1")
        await sandbox.run(job("print('done')"))
        with pytest.raises(SandboxError):
            await sandbox.run(job("print('done')"))
        await sandbox.discard()

    async def test_timeout(self, life: Life, profile: Profile) -> None:
        """A tool that goes on longer than it may is ended, and reported so."""
        sandbox = await life("now").prepare(profile, slot="slot-1")
        report = await sandbox.run(job(SLEEP, timeout_s=0.3))
        await sandbox.discard()
        assert report.cause is Cause.TIMEOUT

    async def test_killed_before(self, life: Life, profile: Profile) -> None:
        """A kill that comes before the run ends it with its cause."""
        sandbox = await life("now").prepare(profile, slot="slot-1")
        await sandbox.kill(Cause.CANCELLED)
        report = await sandbox.run(job(SLEEP))
        await sandbox.discard()
        assert report.cause is Cause.CANCELLED

    async def test_killed(self, life: Life, profile: Profile) -> None:
        """A kill during the run ends it with the first cause given."""
        sandbox = await life("now").prepare(profile, slot="slot-1")
        running = asyncio.ensure_future(sandbox.run(job(SLEEP)))
        await asyncio.sleep(0)
        await sandbox.kill(Cause.HALTED)
        await sandbox.kill(Cause.CANCELLED)
        report = await running
        await sandbox.discard()
        assert report.cause is Cause.HALTED


class TestRemoval:
    async def test_discard(self, life: Life, profile: Profile) -> None:
        """Discarding twice is as good as once, and leaves nothing."""
        engine = life("before")
        sandbox = await engine.prepare(profile, slot="slot-1")
        await sandbox.discard()
        await sandbox.discard()
        assert await life("now").sweep() == 0

    async def test_sweep(self, life: Life, profile: Profile) -> None:
        """A sweep removes what earlier lives left, and only that."""
        await life("before").prepare(profile, slot="slot-1")
        engine = life("now")
        sandbox = await engine.prepare(profile, slot="slot-2")
        assert await engine.sweep() == 1
        assert await engine.sweep() == 0
        report = await sandbox.run(job("print('done')"))
        await sandbox.discard()
        assert report.cause is Cause.EXITED

    async def test_close(self, life: Life, profile: Profile) -> None:
        """Closing an engine leaves nothing of its own life."""
        engine = life("before")
        await engine.prepare(profile, slot="slot-1")
        await engine.close()
        assert await life("now").sweep() == 0

    async def test_check(self, life: Life) -> None:
        """An engine says what it is."""
        assert (await life("now").check())["version"]
