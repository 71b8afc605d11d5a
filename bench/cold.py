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

CODE = "print(6 * 7)"
PRINTED = "42\n"
_WARM_UP = 3


def measure(served: Served, *, pairs: int) -> list[Figure]:
    """Measure runs in pairs, the two of a pair in alternating order."""
    client = docker.DockerClient(DOCKER_URL)
    tool = next(tool for tool in read_catalog(tools_dir()).tools if tool.name == "python_run")
    image = str(client.images.get(f"toolwarrant/{tool.image}:{tool.version}").id)
    agent = served.client("agent")

    def ours() -> str:
        return agent.call("python_run", {"code": CODE}).result.stdout_text

    def theirs() -> str:
        return bare(client, image, tool)

    try:
        for _ in range(_WARM_UP):
            _timed(served, ours), _timed(served, theirs)
        ours_ms: list[float] = []
        gone_ms: list[float] = []
        theirs_ms: list[float] = []
        for pair in range(pairs):
            for run in (ours, theirs) if pair % 2 else (theirs, ours):
                answered_ms, removed_ms = _timed(served, run)
                if run is ours:
                    ours_ms.append(answered_ms)
                    gone_ms.append(removed_ms)
                else:
                    theirs_ms.append(answered_ms)
    finally:
        client.close()
    conditions = f"{pairs} pairs, image and limits of {tool.name} {tool.version}"
    theirs_p50_ms = statistics.median(theirs_ms)
    return [
        Figure(
            name="ExecuteTool(python_run) / containers.run, p50",
            unit="ms",
            ours=statistics.median(ours_ms),
            theirs=theirs_p50_ms,
            bound=1.15,
            conditions=f"{conditions}; ours {quantiles(ours_ms)}; theirs {quantiles(theirs_ms)}",
        ),
        Figure(
            name="the same, until the broker's container is removed",
            unit="ms",
            ours=statistics.median(gone_ms),
            theirs=theirs_p50_ms,
            bound=None,
            conditions="the broker answers before it removes; containers.run removes first; "
            "found out by asking the Engine, which is part of ours",
        ),
    ]


def _timed(served: Served, run: Callable[[], str]) -> tuple[float, float]:
    """Give the milliseconds until the answer, then until no container is left."""
    begun_s = time.perf_counter()
    printed = run()
    answered_ms = (time.perf_counter() - begun_s) * 1000
    assert printed == PRINTED, printed
    # What is being removed must not fall into the next run.
    while served.containers():
        time.sleep(0.005)
    return answered_ms, (time.perf_counter() - begun_s) * 1000


def bare(client: docker.DockerClient, image: str, tool: Tool, runtime: str = "runc") -> str:
    """Run the program by the SDK alone, held in as far as it can be; give what it printed."""
    limits = tool.limits
    seccomp = (tools_dir() / "seccomp.json").read_text()
    guard = f"rw,noexec,nosuid,nodev,size={limits.tmp_bytes}"
    printed = client.containers.run(
        image,
        ["/usr/bin/python3", "-c", CODE],
        remove=True,
        runtime=runtime,
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
