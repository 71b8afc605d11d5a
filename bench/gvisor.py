"""Compare a governed run in gVisor with a bare one, and with a governed run on runc."""

import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import docker

from bench import bare, hot_path, warm
from bench.figure import Figure, quantiles
from broker.adapters.image_lock import read_image_lock
from broker.shipped import tools_dir
from tests.broker_process import UNHURRIED, Folder, Served
from tests.e2e.crash.own_engine import OwnEngine

_ROOT = Path(__file__).resolve().parents[1]
_ARGUMENTS = ("--platform=systrap", "--network=none", "--host-uds=open", "--oci-seccomp")
_WARM_UP = 3


def measure(made: Folder, place: Path, *, rounds: int) -> list[Figure]:
    """Measure in rounds, each with a run of every kind, on an Engine that is nobody else's."""
    runsc = subprocess.check_output([_ROOT / "scripts" / "tool.sh", "runsc"], text=True).strip()
    tool = bare.python_run()
    images = read_image_lock(made.path / "images.lock.json")
    with OwnEngine({"runsc": [runsc, *_ARGUMENTS]}) as engine:
        engine.load(sorted(set(images.values())))
        client = docker.DockerClient(engine.url)
        with (
            Served(_demanding(made, place / "runsc", engine, "runsc")) as in_gvisor,
            Served(_demanding(made, place / "runc", engine, "runc")) as on_runc,
        ):
            kinds: dict[str, Callable[[], str]] = {
                "broker, runsc": lambda: _call(in_gvisor),
                "broker, runc": lambda: _call(on_runc),
                "bare, runsc": lambda: bare.run(client, images[tool.image], tool, "runsc"),
                "bare, runc": lambda: bare.run(client, images[tool.image], tool, "runc"),
            }
            taken_ms = _in_turns(engine, kinds, rounds)
        pooled = _demanding(made, place / "pooled", engine, "runsc")
        pooled.set({"pool": {"containers": 4}})
        with Served(pooled.copy(place / "compared")) as served:
            figures = warm.compare(
                served, client, images[tool.image], pairs=rounds, runtime="runsc"
            )
        client.close()
        kept = hot_path.keep(hot_path.waited_for(pooled, rounds), "gvisor.profile")
        print(f"kept: {kept.name}")
    return figures + _figures(
        taken_ms, f"{rounds} rounds, image and limits of {tool.name} {tool.version}"
    )


def _demanding(made: Folder, place: Path, engine: OwnEngine, runtime: str) -> Folder:
    """Give a folder whose `python_run` demands a runtime."""
    folder = made.copy(place, UNHURRIED)
    shutil.copytree(tools_dir(), folder.path / "tools")
    definition = folder.path / "tools" / "python_run" / "tool.yaml"
    definition.write_text(f"{definition.read_text()}\nruntime: {runtime}\n")
    folder.set({"sandbox": {"docker_url": engine.url, "tools_dir": "tools"}})
    return folder


def _call(served: Served) -> str:
    return served.client("agent").call("python_run", {"code": bare.CODE}).result.stdout_text


def _in_turns(
    engine: OwnEngine, kinds: dict[str, Callable[[], str]], rounds: int
) -> dict[str, list[float]]:
    taken_ms: dict[str, list[float]] = {name: [] for name in kinds}
    order = list(kinds)
    for number in range(_WARM_UP + rounds):
        # Each kind comes after each other one.
        order = order[1:] + order[:1] if number % 2 else order[::-1]
        for name in order:
            begun_s = time.perf_counter()
            printed = kinds[name]()
            if number >= _WARM_UP:
                taken_ms[name].append((time.perf_counter() - begun_s) * 1000)
            assert printed == bare.PRINTED, printed
            # What is being removed must not fall into the next run.
            while engine.containers():
                time.sleep(0.005)
    return taken_ms


def _figures(taken_ms: dict[str, list[float]], conditions: str) -> list[Figure]:
    rows = [
        (
            "ExecuteTool in gVisor / containers.run(runsc), p50",
            "broker, runsc",
            "bare, runsc",
            1.15,
        ),
        ("ExecuteTool in gVisor / on runc, p50", "broker, runsc", "broker, runc", None),
        ("containers.run, runsc / runc, p50", "bare, runsc", "bare, runc", None),
    ]
    return [
        Figure(
            name=name,
            unit="ms",
            ours=statistics.median(taken_ms[ours]),
            theirs=statistics.median(taken_ms[theirs]),
            bound=bound,
            conditions=f"{conditions}; {ours}: {quantiles(taken_ms[ours])}; "
            f"{theirs}: {quantiles(taken_ms[theirs])}",
            samples={ours: taken_ms[ours], theirs: taken_ms[theirs]},
        )
        for name, ours, theirs, bound in rows
    ]
