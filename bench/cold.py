"""Compare a governed run of Python with a bare `containers.run` of the same image and limits."""

import statistics
import time
from collections.abc import Callable

import docker

from bench.figure import Figure, quantiles
from broker.adapters.tool_files import read_catalog
from broker.core.catalog import Tool
from broker.shipped import tools_dir
from tests.broker_process import DOCKER_URL, Served

_CODE = "print(6 * 7)"
_PRINTED = "42\n"
_WARM_UP = 3


def measure(served: Served, *, pairs: int) -> list[Figure]:
    """Measure runs in pairs, the two of a pair in alternating order."""
    client = docker.DockerClient(DOCKER_URL)
    tool = next(tool for tool in read_catalog(tools_dir()).tools if tool.name == "python_run")
    image = str(client.images.get(f"toolwarrant/{tool.image}:{tool.version}").id)
    agent = served.client("agent")

    def ours() -> str:
        return agent.call("python_run", {"code": _CODE}).result.stdout_text

    def theirs() -> str:
        return _bare(client, image, tool)

    try:
        for _ in range(_WARM_UP):
            _timed(served, ours), _timed(served, theirs)
        ours_ms, theirs_ms = [], []
        for pair in range(pairs):
            if pair % 2:
                ours_ms.append(_timed(served, ours))
            theirs_ms.append(_timed(served, theirs))
            if not pair % 2:
                ours_ms.append(_timed(served, ours))
    finally:
        client.close()
    return [
        Figure(
            name="ExecuteTool(python_run) / containers.run, p50",
            unit="ms",
            ours=statistics.median(ours_ms),
            theirs=statistics.median(theirs_ms),
            bound=1.15,
            conditions=f"{pairs} pairs, image and limits of {tool.name} {tool.version}; "
            f"ours {quantiles(ours_ms)}; theirs {quantiles(theirs_ms)}",
        )
    ]


def _timed(served: Served, run: Callable[[], str]) -> float:
    begun_s = time.perf_counter()
    printed = run()
    took_ms = (time.perf_counter() - begun_s) * 1000
    assert printed == _PRINTED, printed
    # The broker answers before its container is removed; that must not fall into the next run.
    while served.containers():
        time.sleep(0.005)
    return took_ms


def _bare(client: docker.DockerClient, image: str, tool: Tool) -> str:
    limits = tool.limits
    seccomp = (tools_dir() / "seccomp.json").read_text()
    guard = f"rw,noexec,nosuid,nodev,size={limits.tmp_bytes}"
    printed = client.containers.run(
        image,
        ["/usr/bin/python3", "-c", _CODE],
        remove=True,
        user="65534:65534",
        network_mode="none",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges", f"seccomp={seccomp}"],
        mem_limit=limits.memory_bytes,
        memswap_limit=limits.memory_bytes,
        nano_cpus=limits.cpu_millicores * 1_000_000,
        pids_limit=limits.pids,
        ipc_mode="none",
        tmpfs=dict.fromkeys(("/tmp", "/dev/shm", "/workspace", "/in", "/out"), guard),
    )
    return bytes(printed).decode()
