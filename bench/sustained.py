"""Compare many governed runs at once with a bare loop that makes and removes as many containers."""

import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker

from bench import bare
from bench.figure import Figure
from broker.adapters.image_lock import read_image_lock
from broker.config_template import Settings
from tests.broker_process import UNHURRIED, Folder, Served
from tests.e2e.crash.own_engine import OwnEngine

AT_ONCE = (4, 16)
WAITING = 4

_BOUND = 0.95


def measure(made: Folder, place: Path, *, calls: int, blocks: int) -> list[Figure]:
    """Measure with 4 and with 16 callers, on an Engine that is nobody else's.

    A Docker Engine 20.10 that many containers start and end on at once may lock itself up for good.

    Args:
        calls: Runs of a block, far more than wait in the broker's pool.
        blocks: Of each side.
    """
    images = read_image_lock(made.path / "images.lock.json")
    tool = bare.python_run()
    with OwnEngine() as engine:
        engine.load(sorted(set(images.values())))
        settings: Settings = {
            **UNHURRIED,
            "pool": {"containers": WAITING},
            "sandbox": {"max_running": max(AT_ONCE), "docker_url": engine.url},
        }
        client = docker.DockerClient(engine.url, max_pool_size=max(AT_ONCE))
        with Served(made.copy(place, settings)) as served:
            agent = served.client("agent")

            def ours() -> None:
                printed = agent.call("python_run", {"code": bare.CODE}).result.stdout_text
                assert printed == bare.PRINTED, printed

            def theirs() -> None:
                bare.loop_once(client, images[tool.image], tool)

            sides = {"ours": ours, "theirs": theirs}
            figures = [
                _figure(at_once, _rates(engine, sides, at_once, calls, blocks), calls)
                for at_once in AT_ONCE
            ]
        client.close()
    return figures


def _rates(
    engine: OwnEngine,
    sides: Mapping[str, Callable[[], None]],
    at_once: int,
    calls: int,
    blocks: int,
) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {name: [] for name in sides}
    with ThreadPoolExecutor(at_once) as callers:
        for block in range(1 + blocks):
            for name in sorted(sides, reverse=bool(block % 2)):
                rate = _rate(callers, sides[name], calls if block else at_once)
                _until_quiet(engine)
                # The first is to warm up.
                if block:
                    rates[name].append(rate)
    return rates


def _figure(at_once: int, rates: Mapping[str, list[float]], calls: int) -> Figure:
    return Figure(
        name=f"python_run / create, start, wait, remove, {at_once} at once",
        unit="/s",
        ours=statistics.median(rates["ours"]),
        theirs=statistics.median(rates["theirs"]),
        bound=_BOUND,
        at_most=False,
        conditions=f"blocks of {calls} runs, in turns; the bare loop reads no output; "
        f"ours {_listed(rates['ours'])}; theirs {_listed(rates['theirs'])}",
    )


def _rate(callers: ThreadPoolExecutor, run: Callable[[], None], count: int) -> float:
    """Give the runs a second of a block."""
    begun_s = time.perf_counter()
    for done in [callers.submit(run) for _ in range(count)]:
        done.result()
    return count / (time.perf_counter() - begun_s)


def _until_quiet(engine: OwnEngine) -> None:
    """Wait until the broker has replaced and removed: the other side's time is not for that."""
    seen: set[str] | None = None
    while (now := set(engine.containers())) != seen or len(now) > WAITING:
        seen = now
        time.sleep(0.5)


def _listed(rates: list[float]) -> str:
    return ", ".join(f"{rate:.1f}" for rate in rates)
