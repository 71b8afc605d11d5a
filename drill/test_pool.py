"""Thousands of calls that find containers waiting, with everything that may come between."""

import json
import random
import socket
import sqlite3
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import docker
import pytest

from broker.config_template import Settings
from drill.mixture.book import Wish
from drill.mixture.desk import Desk, FetchTargets
from drill.mixture.stage import Played, Stage
from drill.mixture.traces import Ground, settled
from tests.broker_process import Folder, Served
from tests.conftest import opa
from tests.e2e.crash.conftest import Start
from tests.e2e.crash.own_engine import OwnEngine
from tests.e2e.crash.proof import check_record, read_record
from tests.e2e.policies import RENAMED, STEERED, compile_policy

__all__ = ["opa"]

FULL = (
    3000,
    {
        "container killed": 40,
        "first process killed": 20,
        "agent halted": 12,
        "Engine killed": 3,
        "broker killed": 4,
        "policy changed": 6,
        "image changed": 6,
    },
)
SHORT = (
    100,
    {
        "container killed": 3,
        "agent halted": 1,
        "Engine killed": 1,
        "policy changed": 1,
        "image changed": 1,
    },
)
POOL = 3
CODE = "import os; print(os.listdir('/tmp')); open('/tmp/used', 'w')"
SMALL = 50331648
"""Memory of a call whose purpose is `small`, as the policy has it."""


def _fresh(desk: Desk, purpose: str = "") -> None:
    """Look whether somebody was in the container before."""
    wish = Wish(
        kind="fresh",
        tool="python_run",
        arguments={"code": CODE},
        is_right=lambda call: call.result.stdout_text == "[]\n",
        purpose=purpose,
    )
    desk.carry(wish)


TRIALS = {_fresh: 3, partial(_fresh, purpose="small"): 1}


@pytest.fixture
def engine(development_folder: Folder) -> Iterator[OwnEngine]:
    """An Engine that may die, with the tools' images."""
    with OwnEngine() as own:
        images = json.loads((development_folder.path / "images.lock.json").read_text())
        own.load(sorted(set(images.values())))
        yield own


@pytest.fixture
def metrics() -> str:
    """Where Prometheus would ask."""
    return _free()


@pytest.fixture
def served(start: Start, engine: OwnEngine, metrics: str) -> Served:
    """A broker with a pool."""
    settings: dict[str, dict[str, Any]] = {
        "server": {"listen": _free()},
        "metrics": {"listen": metrics},
        "sandbox": {"docker_url": engine.url, "max_running": 4},
        "pool": {"containers": POOL},
    }
    return start(settings)


@pytest.fixture
def changes(
    served: Served, engine: OwnEngine, opa: str, tmp_path: Path
) -> dict[str, Callable[[], object]]:
    """Other policies and other images, in turns."""
    bundles = [compile_policy(text, tmp_path / name, opa) for name, text in
               (("steered", STEERED), ("renamed", RENAMED))]  # fmt: skip
    lock = served.folder.path / "images.lock.json"
    pinned = json.loads(lock.read_text())
    next_bundle = cycle(bundles)
    next_image = cycle([_another(engine, pinned["python_run"]), pinned["python_run"]])

    def change_policy() -> None:
        settings: Settings = {"policy": {"bundle": str(next(next_bundle))}}
        served.folder.set(settings)

    def change_image() -> None:
        lock.write_text(json.dumps({**pinned, "python_run": next(next_image)}))

    served.kill()
    change_policy()
    served.start()
    return {"policy changed": change_policy, "image changed": change_image}


def _another(engine: OwnEngine, image: str) -> str:
    """Make an image that is the same in all but its id."""
    client = docker.APIClient(engine.url)
    container = client.create_container(image, ["none"])["Id"]
    made = client.commit(container, changes='LABEL drill="another"')["Id"]
    client.remove_container(container)
    client.close()
    return str(made)


def _free() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.timeout(3600)
def test_no_container_serves_two(
    served: Served,
    engine: OwnEngine,
    changes: dict[str, Callable[[], object]],
    metrics: str,
    is_short: bool,
    seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    """Each call has a container of its own that nobody had used, of just its image and limits;
    what waits stays within its number, and nothing is left when the broker has stopped.
    """
    ground = Ground(served=served, engine=engine, mounts=frozenset(engine.mounts()))
    stage = Stage(
        served=served,
        engine=engine,
        places=FetchTargets(open="", closed=""),
        desks=2,
        trials=TRIALS,
        changes=changes,
    )
    turns, plan = SHORT if is_short else FULL
    played = stage.play(random.Random(seed), turns, plan)
    record_property("summary", f"SEED={seed} pool: {played}; {_ways(metrics)}")
    assert Counter(fault.kind for fault in played.faults) == plan
    assert [str(each) for each in played.untouched if not each.is_right] == []
    assert [str(each) for each in played.made if each.is_wrong] == []
    assert _ways(metrics)["warm"] > 0
    _check_runs(served, played)
    assert settled(lambda: {} if len(engine.containers()) <= POOL else {"waiting": True}) == {}
    check_record(read_record(served.folder.store), served.folder.path / "trust-root.json")
    assert served.stop() == 0
    assert settled(ground.left) == {}


def _check_runs(served: Served, played: Played) -> None:
    """No slot twice; each with the image and the memory that its own call was decided for."""
    with sqlite3.connect(f"file:{served.folder.store}?mode=ro", uri=True) as store:
        runs = store.execute("SELECT call, data FROM events WHERE type = 'run.starting'").fetchall()
        calls = {
            call: json.loads(record)
            for call, record in store.execute("SELECT id, record FROM calls").fetchall()
        }
    facts = [(calls[call], json.loads(data)) for call, data in runs]
    assert len({data["slot"] for _, data in facts}) == len(facts)
    for call, data in facts:
        sandbox = data["sandbox"]
        limits = call["obligations"]["limits"]
        assert sandbox["image"] == call["image"]
        assert sandbox["memory_bytes"] == limits["memory_bytes"]
    small = sum(data["sandbox"]["memory_bytes"] == SMALL for _, data in facts)
    assert 0 < small < len(facts)
    assert len(facts) >= len([each for each in played.made if each.is_right])


def _ways(metrics: str) -> dict[str, int]:
    """Count the containers that calls got in this life of the broker, by whether they waited."""
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = {"warm": 0, "cold": 0}
    for way in found:
        name = f'toolwarrant_sandboxes_total{{way="{way}"}} '
        found[way] = sum(int(float(line.removeprefix(name))) for line in lines if name in line)
    return found
