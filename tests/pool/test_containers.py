"""Containers that really wait: what they are, whom they serve, what is left."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import docker
import pytest

from broker.adapters.docker_engine.settings import INSTALLATION_LABEL
from broker.adapters.system import SystemClock, SystemEntropy
from broker.core.pool import Budget
from broker.core.sandbox import Profile
from broker.errors import SandboxError
from broker.pool import WarmPool
from broker.ports import Sandbox
from tests.pool.test_warm_pool import Told
from tests.sandbox.bench import MIB, Place, job
from tests.sandbox.conftest import client, images, place, profile, seccomp  # noqa: F401 (fixtures)

INSTALLATION = "test-pool"


@pytest.fixture
def told() -> Told:
    """What operators see."""
    return Told()


@pytest.fixture
async def pool(
    place: Place,  # noqa: F811
    client: docker.APIClient,  # noqa: F811
    seccomp: str,  # noqa: F811
    told: Told,
) -> AsyncIterator[WarmPool]:
    """A pool on a real Engine, which leaves nothing when it is closed."""
    engine = place.engine(seccomp=seccomp, installation=INSTALLATION, workers=3)
    budget = Budget(containers=2, memory_bytes=1024 * MIB)
    pool = WarmPool(engine, budget, clock=SystemClock(), entropy=SystemEntropy(), telemetry=told)
    yield pool
    await pool.close()
    assert list(containers(client)) == []


def containers(client: docker.APIClient) -> Iterator[dict]:  # noqa: F811
    """List what the installation has, as the Engine shows it."""
    wanted = {"label": f"{INSTALLATION_LABEL}={INSTALLATION}"}
    for each in client.containers(all=True, filters=wanted):
        yield client.inspect_container(each["Id"])


async def one_waits(told: Told) -> None:
    """Return when a container waits."""
    async with asyncio.timeout(60):
        await told.some_wait.wait()


def told_of(sandbox: Sandbox) -> str:
    """Give the facts of a container but for whom it runs as, which no other does."""
    facts = sandbox.enforced.facts
    uid, _ = str(facts["user"]).split(":")
    return json.dumps(facts).replace(uid, "its own")


class TestWaiting:
    async def test_serves_the_next_call(
        self,
        pool: WarmPool,
        told: Told,
        profile: Profile,  # noqa: F811
        client: docker.APIClient,  # noqa: F811
    ) -> None:
        """It is there before the call, is what was demanded, and runs what it is told, once."""
        first = await pool.prepare(profile, slot="first")
        await one_waits(told)
        before = {each["Id"]: each for each in containers(client)}
        second = await pool.prepare(profile, slot="second")
        third = await pool.prepare(profile, slot="third")
        assert told.taken == [False, True, False] or told.taken == [False, True, True]
        assert second.enforced.container_id in before
        assert told_of(second) == told_of(first)
        assert len({each.enforced.container_id for each in (first, second, third)}) == 3
        # Nothing of any call is in what the Engine knows of it.
        assert "second" not in json.dumps(before[second.enforced.container_id])
        for sandbox, word in ((third, "c"), (second, "b"), (first, "a")):
            report = await sandbox.run(job(f"import os; print({word!r}, os.listdir('/tmp'))"))
            assert report.stdout.data.decode() == f"{word} []\n"
            assert not sandbox.is_fresh
            with pytest.raises(SandboxError, match="used before"):
                await sandbox.run(job("print(2)"))
            await sandbox.discard()

    async def test_that_died_serves_nobody(
        self,
        pool: WarmPool,
        told: Told,
        profile: Profile,  # noqa: F811
        client: docker.APIClient,  # noqa: F811
    ) -> None:
        """One that is killed behind the broker's back is replaced before a call gets it."""
        first = await pool.prepare(profile, slot="first")
        await first.discard()
        await one_waits(told)
        (waiting,) = [each["Id"] for each in containers(client) if each["State"]["Running"]]
        client.kill(waiting)
        client.wait(waiting)
        second = await pool.prepare(profile, slot="second")
        assert second.enforced.container_id != waiting
        assert (await second.run(job("print(1)"))).stdout.data == b"1\n"
        await second.discard()

    async def test_is_no_stray(
        self,
        pool: WarmPool,
        told: Told,
        profile: Profile,  # noqa: F811
        client: docker.APIClient,  # noqa: F811
    ) -> None:
        """The sweep leaves what waits alone; another boot's takes it away."""
        first = await pool.prepare(profile, slot="first")
        await first.discard()
        await one_waits(told)
        assert await pool.sweep() == 0
        second = await pool.prepare(profile, slot="second")
        assert told.taken == [False, True]
        await second.discard()

    async def test_is_swept_by_the_next_boot(
        self,
        pool: WarmPool,
        told: Told,
        profile: Profile,  # noqa: F811
        place: Place,  # noqa: F811
        seccomp: str,  # noqa: F811
        client: docker.APIClient,  # noqa: F811
    ) -> None:
        """What a broker left that was killed is gone before the next one serves."""
        await (await pool.prepare(profile, slot="first")).discard()
        await one_waits(told)
        next_boot = place.engine(seccomp=seccomp, installation=INSTALLATION, boot="next")
        assert await next_boot.sweep() >= 1
        assert list(containers(client)) == []
        await next_boot.close()
