"""Compare a governed run in a container that waits with a bare `containers.run`."""

import statistics
import time

import docker

from bench.cold import CODE, PRINTED, bare
from bench.figure import Figure, quantiles
from broker.adapters.tool_files import read_catalog
from broker.shipped import tools_dir
from tests.broker_process import DOCKER_URL, Served

# Two calls a second, of one caller: each finds a container that waits.
_PAUSE_S = 0.5
_WARM_UP = 5


def measure(served: Served, *, pairs: int) -> list[Figure]:
    """Measure runs in pairs, the two of a pair in alternating order, at leisure."""
    client = docker.DockerClient(DOCKER_URL)
    tool = next(tool for tool in read_catalog(tools_dir()).tools if tool.name == "python_run")
    image = str(client.images.get(f"toolwarrant/{tool.image}:{tool.version}").id)
    agent = served.client("agent")
    kinds = {
        "ours": lambda: agent.call("python_run", {"code": CODE}).result.stdout_text,
        "theirs": lambda: bare(client, image, tool),
    }
    taken_ms: dict[str, list[float]] = {name: [] for name in kinds}
    try:
        for pair in range(_WARM_UP + pairs):
            for name in sorted(kinds, reverse=bool(pair % 2)):
                time.sleep(_PAUSE_S)
                begun_s = time.perf_counter()
                printed = kinds[name]()
                if pair >= _WARM_UP:
                    taken_ms[name].append((time.perf_counter() - begun_s) * 1000)
                assert printed == PRINTED, printed
    finally:
        client.close()
    conditions = (
        f"{pairs} pairs, a run every {_PAUSE_S} s, image and limits of {tool.name} {tool.version}; "
        f"ours {quantiles(taken_ms['ours'])}; theirs {quantiles(taken_ms['theirs'])}"
    )
    cuts = {name: statistics.quantiles(taken, n=100) for name, taken in taken_ms.items()}
    return [
        Figure(
            name=f"containers.run / ExecuteTool(python_run) with a pool, p{percent}",
            unit="ms",
            ours=cuts["theirs"][percent - 1],
            theirs=cuts["ours"][percent - 1],
            bound=bound,
            at_most=False,
            conditions=conditions,
        )
        for percent, bound in ((50, 40.0), (99, 15.0))
    ]
