"""Thousands of calls that find containers waiting, with everything that may come between."""

import json
import random
import re
import socket
import sqlite3
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, Self

import docker
import pytest
from docker.errors import DockerException
from requests.exceptions import RequestException

from broker.config_template import Settings
from drill.mixture.book import Wish
from drill.mixture.desk import Desk, FetchTargets
from drill.mixture.stage import Played, Stage
from drill.mixture.traces import Ground, settled
from tests.broker_process import LABEL, Folder, Served
from tests.conftest import opa
from tests.e2e.crash.conftest import Start
from tests.e2e.crash.own_engine import OwnEngine
from tests.e2e.crash.proof import check_record, read_record
from tests.e2e.policies import RENAMED, STEERED, compile_policy

__all__ = ["opa"]

# Turns with their faults; more follow without, until as many calls found a container waiting.
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
POOL = 6
RUNNING = 4
CODE = "import os; print(os.listdir('/tmp')); open('/tmp/used', 'w')"
_TAKEN = re.compile(r'^toolwarrant_sandboxes_total\{way="(\w+)"\} (\S+)$', re.MULTILINE)
THOUGHT_S = 0.4
SMALL = 50331648
"""Memory of a call whose purpose is `small`, as the policy has it."""


def _fresh(desk: Desk, purpose: str = "") -> None:
    """Look whether somebody was in the container before; think first, while others are made."""
    time.sleep(desk.chance.uniform(0, THOUGHT_S))
    wish = Wish(
        kind="fresh",
        tool="python_run",
        arguments={"code": CODE},
        is_right=lambda call: call.result.stdout_text == "[]\n",
        purpose=purpose,
    )
    desk.carry(wish)


TRIALS = {_fresh: 3, partial(_fresh, purpose="small"): 1}


class Ways:
    """Counts the containers that calls got, by whether they had waited, over a broker's lives.

    Args:
        metrics: Where Prometheus would ask.
    """

    def __init__(self, served: Served, metrics: str) -> None:
        self._served = served
        self._url = f"http://{metrics}/metrics"
        self._lives: dict[int, Counter[str]] = {}

    def note(self) -> Counter[str]:
        """Take down what this life has so far; give the sum of all lives."""
        with urllib.request.urlopen(self._url, timeout=10) as answer:
            said = answer.read().decode()
        self._lives[self._served.process.pid] = Counter(
            {way: int(float(count)) for way, count in _TAKEN.findall(said)}
        )
        return sum(self._lives.values(), Counter())


class Census:
    """Counts the containers that live, again and again, while it is used in `with`."""

    def __init__(self, engine: OwnEngine) -> None:
        self._engine = engine
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)
        self.counts: list[int] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _count(self) -> None:
        client = docker.APIClient(self._engine.url, timeout=5)
        while not self._over.wait(0.25):
            # One that is down has none that could be counted.
            with suppress(DockerException, RequestException):
                self.counts.append(len(client.containers(filters={"label": LABEL})))
        client.close()


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
        "sandbox": {"docker_url": engine.url, "max_running": RUNNING},
        "pool": {"containers": POOL},
    }
    return start(settings)


@pytest.fixture
def ways(served: Served, metrics: str) -> Ways:
    """What containers its calls got."""
    return Ways(served, metrics)


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
    ways: Ways,
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
        desks=1,
        trials=TRIALS,
        changes=changes,
        farewell=ways.note,
    )
    turns, plan = SHORT if is_short else FULL
    chance = random.Random(seed)
    with Census(engine) as census:
        played = stage.play(chance, turns, plan)
        while ways.note()["warm"] < turns:
            played += stage.play(chance, turns // 10, {})
    record_property("summary", f"SEED={seed} pool: {played}; {dict(ways.note())}")
    assert Counter(fault.kind for fault in played.faults) == plan
    assert [str(each) for each in played.untouched if not each.is_right] == []
    assert [str(each) for each in played.made if each.is_wrong] == []
    _check_runs(served, played)
    assert max(census.counts) <= RUNNING + POOL
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
