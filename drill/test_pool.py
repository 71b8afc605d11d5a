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

from broker.adapters.docker_engine.settings import SLOT_LABEL
from broker.adapters.sqlite_store.call_record import load_call
from drill.mixture.book import Wish
from drill.mixture.desk import Desk, FetchTargets
from drill.mixture.policies import Policies
from drill.mixture.stage import Played, Stage
from drill.mixture.traces import Ground, settled
from tests.broker_process import LABEL, Folder, Served
from tests.conftest import opa
from tests.e2e.crash.conftest import Start
from tests.e2e.crash.own_engine import OwnEngine
from tests.e2e.crash.proof import check_record, read_record
from tests.e2e.policies import STEERED, compile_policy

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
        "policy activated": 24,
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
        "policy activated": 2,
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
"""Memory of a call whose purpose is `small`, as one policy has it."""
ROOMIER = 58720256
"""The same, as the other policy has it."""
POLICIES = {SMALL: STEERED, ROOMIER: STEERED.replace(str(SMALL), str(ROOMIER))}


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
    """Counts the containers that live, again and again, while it is used in `with`.

    Takes down when each was made, by its slot; one that was made less than a look before its Engine
    was killed may be missing.
    """

    def __init__(self, engine: OwnEngine) -> None:
        self._engine = engine
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._since = f"{time.time():.9f}"
        self.counts: list[int] = []
        self.made_ns: dict[str, int] = {}

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
                self._note_made(client)
        client.close()

    def _note_made(self, client: docker.APIClient) -> None:
        until = f"{time.time():.9f}"
        wanted = {"type": "container", "event": "create", "label": LABEL}
        for event in client.events(since=self._since, until=until, filters=wanted, decode=True):
            self.made_ns[event["Actor"]["Attributes"][SLOT_LABEL]] = event["timeNano"]
        self._since = until


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
def policies(served: Served, engine: OwnEngine, opa: str, tmp_path: Path) -> Policies:
    """Policies that give small calls another profile each; the broker has the first of them."""
    bundles = {
        memory_bytes: compile_policy(text, tmp_path / str(memory_bytes), opa).read_bytes()
        for memory_bytes, text in POLICIES.items()
    }
    scratch = tmp_path / "numbered"
    scratch.mkdir()
    made = Policies(served, engine, bundles, scratch)
    served.kill()
    made.configure()
    served.start()
    return made


@pytest.fixture
def change_image(served: Served, engine: OwnEngine) -> Callable[[], object]:
    """Two images of one tool, in turns."""
    lock = served.folder.path / "images.lock.json"
    pinned = json.loads(lock.read_text())
    images = cycle([_another(engine, pinned["python_run"]), pinned["python_run"]])
    return lambda: lock.write_text(json.dumps({**pinned, "python_run": next(images)}))


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
    policies: Policies,
    change_image: Callable[[], object],
    ways: Ways,
    is_short: bool,
    seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    """Each call has a container of its own that nobody had used, of just its image and limits, made
    when the policy that it came under was active already; what waits stays within its number, what
    waited for another policy goes, and nothing is left when the broker has stopped.
    """
    ground = Ground(served=served, engine=engine, mounts=frozenset(engine.mounts()))
    stage = Stage(
        served=served,
        engine=engine,
        places=FetchTargets(open="", closed=""),
        desks=1,
        trials=TRIALS,
        changes={"policy changed": policies.configure, "image changed": change_image},
        live_changes={"policy activated": policies.activate},
        farewell=ways.note,
    )
    turns, plan = SHORT if is_short else FULL
    chance = random.Random(seed)
    with Census(engine) as census:
        played = stage.play(chance, turns, plan)
        while ways.note()["warm"] < turns:
            played += stage.play(chance, turns // 10, {})
    small = _check_runs(served, played, policies)
    unknown = _check_ages(served, census)
    record_property(
        "summary",
        f"SEED={seed} pool: {played}; {dict(ways.note())}; small calls by memory: {dict(small)}; "
        f"{policies.let_go} containers let go, {len(unknown)} of unknown age",
    )
    assert Counter(fault.kind for fault in played.faults) == plan
    assert [str(each) for each in played.untouched if not each.is_right] == []
    assert [str(each) for each in played.made if each.is_wrong] == []
    assert len(unknown) <= (RUNNING + POOL) * plan["Engine killed"]
    assert policies.let_go > 0
    assert max(census.counts) <= RUNNING + POOL
    assert settled(lambda: {} if len(engine.containers()) <= POOL else {"waiting": True}) == {}
    check_record(read_record(served.folder.store), served.folder.path / "trust-root.json")
    assert served.stop() == 0
    assert settled(ground.left) == {}


def _check_runs(served: Served, played: Played, policies: Policies) -> Counter[int]:
    """No slot twice; each with the image and the memory that its own call was decided for; count
    the small ones by that memory.
    """
    with sqlite3.connect(f"file:{served.folder.store}?mode=ro", uri=True) as store:
        runs = store.execute("SELECT call, data FROM events WHERE type = 'run.starting'").fetchall()
        calls = {
            f"calls/{call}": load_call(record)
            for call, record in store.execute("SELECT id, record FROM calls").fetchall()
        }
    starts = {f"calls/{call}": json.loads(data) for call, data in runs}
    # Fewer, too, where a call began twice.
    assert len({data["slot"] for data in starts.values()}) == len(runs)
    assert len(runs) >= len([each for each in played.made if each.is_right])
    memory_bytes = {}
    for name, data in starts.items():
        sandbox, obligations = data["sandbox"], calls[name].obligations
        assert obligations is not None
        assert sandbox["image"] == calls[name].image
        assert sandbox["memory_bytes"] == obligations.limits.memory_bytes
        memory_bytes[name] = sandbox["memory_bytes"]
    small = [
        each.call.name
        for each in played.made
        if each.wish.purpose == "small" and each.call.name in memory_bytes
    ]
    for name in small:
        # Asked again as a bundle came between, one that allows more changes nothing.
        deciding = {each.bundle_sha256 for each in calls[name].evaluations}
        assert memory_bytes[name] in {policies.small_bytes[each] for each in deciding}
    assert 0 < len(small) < len(runs)
    return Counter(memory_bytes[name] for name in small)


def _check_ages(served: Served, census: Census) -> list[str]:
    """A call's container is no older than the activation before the call; list the calls of which
    nobody saw when their containers were made.
    """
    with sqlite3.connect(f"file:{served.folder.store}?mode=ro", uri=True) as store:
        activations = store.execute(
            "SELECT sequence, at_us FROM events WHERE type = 'policy.activated' ORDER BY sequence"
        ).fetchall()
        runs = store.execute(
            "SELECT call, json_extract(data, '$.slot'),"
            " (SELECT min(sequence) FROM events WHERE call = run.call)"
            " FROM events AS run WHERE type = 'run.starting'"
        ).fetchall()
    unknown, older = [], []
    for call, slot, sequence in runs:
        latest_us = max((at_us for begun, at_us in activations if begun < sequence), default=0)
        if slot not in census.made_ns:
            unknown.append(call)
        elif census.made_ns[slot] < latest_us * 1000:
            older.append(call)
    assert older == []
    return unknown
