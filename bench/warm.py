"""Compare a governed run in a container that waits with a bare `containers.run`."""

import statistics
import time

import docker

from bench import bare
from bench.figure import Figure, quantiles
from tests.broker_process import DOCKER_URL, Served

# Two calls a second, of one caller: each finds a container that waits.
_PAUSE_S = 0.5
_WARM_UP = 5


def measure(served: Served, *, pairs: int) -> list[Figure]:
    """Measure on the machine's Engine and runc."""
    client = docker.DockerClient(DOCKER_URL)
    try:
        image = bare.image_of(client, bare.python_run())
        return compare(served, client, image, pairs=pairs, runtime="runc")
    finally:
        client.close()


def compare(
    served: Served, client: docker.DockerClient, image: str, *, pairs: int, runtime: str
) -> list[Figure]:
    """Measure runs in pairs, the two of a pair in alternating order, at leisure.

    Args:
        served: Its pool is on, its `python_run` runs in `runtime`.
    """
    tool = bare.python_run()
    agent = served.client("agent")
    kinds = {
        "ours": lambda: agent.call("python_run", {"code": bare.CODE}).result.stdout_text,
        "theirs": lambda: bare.run(client, image, tool, runtime),
    }
    taken_ms: dict[str, list[float]] = {name: [] for name in kinds}
    for pair in range(_WARM_UP + pairs):
        for name in sorted(kinds, reverse=bool(pair % 2)):
            time.sleep(_PAUSE_S)
            begun_s = time.perf_counter()
            printed = kinds[name]()
            if pair >= _WARM_UP:
                taken_ms[name].append((time.perf_counter() - begun_s) * 1000)
            assert printed == bare.PRINTED, printed
    conditions = (
        f"{pairs} pairs, a run every {_PAUSE_S} s, image and limits of {tool.name} {tool.version}, "
        f"{runtime}; broker {quantiles(taken_ms['ours'])}; bare {quantiles(taken_ms['theirs'])}"
    )
    cuts = {name: statistics.quantiles(taken, n=100) for name, taken in taken_ms.items()}
    return [
        Figure(
            name=f"python_run with a pool / containers.run, {runtime}, p{percent}",
            unit="ms",
            ours=cuts["ours"][percent - 1],
            theirs=cuts["theirs"][percent - 1],
            bound=1 / times,
            conditions=conditions,
            samples={"containers.run": taken_ms["theirs"], "the broker": taken_ms["ours"]},
        )
        for percent, times in ((50, 40), (99, 15))
    ]
