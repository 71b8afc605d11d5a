"""Compare a governed run of Python with a bare `containers.run` of the same image and limits."""

import statistics
import time
from collections.abc import Callable

import docker

from bench import bare
from bench.figure import Figure, quantiles
from tests.broker_process import DOCKER_URL, Served

_WARM_UP = 3


def measure(served: Served, *, pairs: int) -> list[Figure]:
    """Measure runs in pairs, the two of a pair in alternating order."""
    client = docker.DockerClient(DOCKER_URL)
    tool = bare.python_run()
    image = bare.image_of(client, tool)
    agent = served.client("agent")

    def ours() -> str:
        return agent.call("python_run", {"code": bare.CODE}).result.stdout_text

    def theirs() -> str:
        return bare.run(client, image, tool)

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
            samples={"ours": ours_ms, "theirs": theirs_ms},
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
    assert printed == bare.PRINTED, printed
    # What is being removed must not fall into the next run.
    while served.containers():
        time.sleep(0.005)
    return answered_ms, (time.perf_counter() - begun_s) * 1000
