"""Real images with a real Engine for every test of the sandbox."""

import json
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import docker
import pytest

from broker.adapters.docker_engine import DockerEngine
from broker.adapters.image_builder import build_images
from broker.adapters.tool_files import read_catalog
from broker.core.catalog import Tool
from broker.core.sandbox import Collect, Job, Profile, Report
from broker.shipped import tools_dir
from tests.broker_process import DOCKER_URL
from tests.sandbox.bench import MIB, WORKSPACE, Bench, Call, Place, profile_of


@pytest.fixture(scope="session")
def place() -> Place:
    """Where everything here runs."""
    return Place(url=DOCKER_URL, runtime="runc")


@pytest.fixture(scope="session")
def images(place: Place) -> Mapping[str, str]:
    """Image name with its id, built from the tools' sources."""
    return build_images(place.url, tools_dir(), print)


@pytest.fixture(scope="session")
def client(place: Place) -> Iterator[docker.APIClient]:
    """The Engine, asked behind the broker's back."""
    client = docker.APIClient(place.url)
    yield client
    client.close()


@pytest.fixture(scope="session")
def seccomp() -> str:
    """The shipped profile's text."""
    return (tools_dir() / "seccomp.json").read_text(encoding="utf-8")


@pytest.fixture
def profile(place: Place, images: Mapping[str, str]) -> Profile:
    """What `python_run` gets, a little smaller."""
    return Profile(
        image=images["python_run"],
        command=("/usr/bin/python3", "-I", "-B", "/opt/toolwarrant/python_run.py"),
        starts_ahead=True,
        runtime=place.runtime,
        cpu_millicores=1000,
        memory_bytes=128 * MIB,
        pids=32,
        tmp_bytes=16 * MIB,
    )


@pytest.fixture
async def engine(
    place: Place, client: docker.APIClient, seccomp: str
) -> AsyncIterator[DockerEngine]:
    """An engine of an installation of its own, which must leave no container behind."""
    installation = f"test-{secrets.token_hex(6)}"
    engine = place.engine(installation=installation, boot="boot-2", workers=4, seccomp=seccomp)
    yield engine
    label = f"org.toolwarrant.installation={installation}"
    left = client.containers(all=True, filters={"label": label})
    await engine.close()
    assert left == []


@pytest.fixture
def bench(engine: DockerEngine, profile: Profile) -> Bench:
    """A place to run programs in sandboxes."""
    return Bench(engine=engine, profile=profile)


@pytest.fixture(scope="session")
def tools() -> Mapping[str, Tool]:
    """The shipped tools by name."""
    return {tool.name: tool for tool in read_catalog(tools_dir()).tools}


@pytest.fixture
def call(
    place: Place, engine: DockerEngine, images: Mapping[str, str], tools: Mapping[str, Tool]
) -> Call:
    """Calls a tool of the catalogue as the broker does."""

    async def call(name: str, arguments: dict[str, Any], **more: Any) -> Report:
        tool = tools[name]
        tool.check_arguments(arguments)
        profile = profile_of(tool, images, runtime=place.runtime, **more.get("limits", {}))
        sandbox = await engine.prepare(profile, slot=secrets.token_hex(4))
        try:
            return await sandbox.run(
                Job(
                    arguments=json.dumps(arguments).encode(),
                    workspace=more.get("workspace", WORKSPACE),
                    inputs=more.get("inputs", ()),
                    timeout_s=more.get("timeout_s", tool.limits.timeout_s),
                    output_bytes=tool.limits.output_bytes,
                    collect=Collect.CHANGES if tool.workspace == "write" else Collect.OUTPUTS,
                )
            )
        finally:
            await sandbox.discard()

    return call
