"""Start a container whose first byte is heard."""

import asyncio
from dataclasses import dataclass
from typing import Any, cast

from docker import APIClient
from docker.errors import APIError, DockerException

from broker.adapters.docker_engine.cgroup import Cgroup, cgroup_of
from broker.adapters.docker_engine.settings import Inspection
from broker.adapters.docker_engine.wire import Wire, attach
from broker.core.frames import PROTOCOL, Frame, FrameError, FrameKind
from broker.errors import SandboxError

_NOT_FOUND = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A container that was started and attached, not yet judged."""

    id: str
    wire: Wire
    inspection: Inspection
    cgroup: Cgroup


def start(client: APIClient, config: dict[str, Any], name: str) -> Started:
    """Create, attach, start, inspect; leave nothing where a step fails. Blocking.

    Raises:
        SandboxError: The Engine has no such image, or its connection carries no stream.
    """
    container_id = _create(client, config, name)
    try:
        wire = Wire(attach(client, container_id))
        try:
            client.start(container_id)
            inspection = cast("Inspection", client.inspect_container(container_id))
            cgroup = cgroup_of(inspection["State"]["Pid"], container_id)
        except BaseException:
            wire.close()
            raise
    except BaseException:
        remove_now(client, container_id)
        raise
    return Started(id=container_id, wire=wire, inspection=inspection, cgroup=cgroup)


def _create(client: APIClient, config: dict[str, Any], name: str) -> str:
    try:
        created = cast("Any", client).create_container_from_config(config, name)
    except APIError as error:
        if error.response is not None and error.response.status_code == _NOT_FOUND:
            raise SandboxError(
                f"the Docker Engine has no image {config['Image']}: build it again with "
                "`toolwarrant tools build`",
                reason="SANDBOX_IMAGE_MISSING",
            ) from error
        raise
    return cast("str", created["Id"])


async def greet(started: Started, *, within_s: float) -> None:
    """Wait until the launcher is there: from then on the first process is what it will be.

    Raises:
        SandboxError: It is not in time, or it is none of this broker's.
    """
    frames: list[Frame] | None = []
    try:
        async with asyncio.timeout(within_s):
            while frames == []:
                frames = await started.wire.receive()
    except (TimeoutError, FrameError):
        frames = None
    greeting = [(frame.kind, frame.payload) for frame in frames or ()]
    if greeting != [(FrameKind.HELLO, bytes([PROTOCOL]))]:
        words = started.wire.last_words[-500:]
        raise SandboxError(
            "the image has no launcher of this broker: build the images again with "
            f"`toolwarrant tools build`{f' ({words})' if words else ''}",
            reason="SANDBOX_NO_LAUNCHER",
        )


def remove_now(client: APIClient, container_id: str) -> None:
    """Kill and remove a container; one that is gone already counts as removed. Blocking."""
    try:
        client.remove_container(container_id, v=True, force=True)
    except DockerException as error:
        response = getattr(error, "response", None)
        if response is None or response.status_code != _NOT_FOUND:
            raise
