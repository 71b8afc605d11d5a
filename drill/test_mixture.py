"""A thousand calls of every shipped tool, with everything that may come between: what is left."""

import json
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.adapters.tool_files import read_catalog
from broker.shipped import tools_dir
from drill.mixture.desk import FetchTargets
from drill.mixture.stage import Stage
from drill.mixture.traces import Ground, more_than, settled
from drill.mixture.trials import TRIALS, every_trial
from drill.mixture.uses import USES
from tests.broker_process import Folder, Served
from tests.conftest import opa
from tests.e2e.crash.conftest import Start
from tests.e2e.crash.own_engine import OwnEngine
from tests.e2e.crash.proof import check_record, read_record
from tests.e2e.policies import STEERED, compile_policy
from tests.egress.places import Places
from tests.sql.database import Database

__all__ = ["opa"]

# The broker dies in the first part alone: the second begins and ends with the same process.
FULL = (
    (
        350,
        {
            "container killed": 8,
            "first process killed": 8,
            "agent halted": 4,
            "Engine killed": 2,
            "Engine hung": 2,
            "broker killed": 4,
        },
    ),
    (
        650,
        {
            "container killed": 16,
            "first process killed": 16,
            "agent halted": 8,
            "Engine killed": 4,
            "Engine hung": 3,
            "Engine hung long": 1,
        },
    ),
)
SHORT = (
    (30, {"container killed": 1, "broker killed": 1}),
    (
        70,
        {
            "container killed": 1,
            "first process killed": 1,
            "agent halted": 1,
            "Engine killed": 1,
            "Engine hung": 1,
        },
    ),
)


@pytest.fixture
def engine(development_folder: Folder) -> Iterator[OwnEngine]:
    """An Engine that may die, with the tools' images."""
    with OwnEngine() as own:
        images = json.loads((development_folder.path / "images.lock.json").read_text())
        own.load(sorted(set(images.values())))
        yield own


@pytest.fixture
def meets(tmp_path: Path) -> Iterator[FetchTargets]:
    """A server that fetches reach, and an address on a network that they do not."""
    with Places(tmp_path) as places:
        yield FetchTargets(open=f"localhost:{places.http}", closed=f"127.0.0.2:{places.http}")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A PostgreSQL that queries reach."""
    folder = tmp_path / "database"
    folder.mkdir()
    with Database(folder) as database:
        yield database


@pytest.fixture
def served(
    start: Start,
    engine: OwnEngine,
    meets: FetchTargets,
    database: Database,
    opa: str,
    tmp_path: Path,
) -> Served:
    """A broker that keeps its address when it comes back; a call's purpose steers its policy."""
    bundle = compile_policy(
        STEERED,
        tmp_path / "policy",
        opa,
        destinations=(meets.open, meets.closed),
        databases={"reading": [f"localhost:{database.port}"]},
    )
    ca, dsn = tmp_path / "ca.pem", tmp_path / "dsn"
    ca.write_bytes(database.ca)
    dsn.touch(mode=0o600)
    dsn.write_text(database.dsn("reader", "localhost"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    settings: dict[str, dict[str, Any]] = {
        "server": {"listen": listen},
        "sandbox": {"docker_url": engine.url, "max_running": 4},
        "policy": {"bundle": str(bundle)},
        "egress": {"allow_cidrs": ["127.0.0.1/32", "::1/128"], "ca_file": str(ca)},
    }
    return start(settings, secrets=f'sql_reading_dsn = "file:{dsn}"\n')


def test_every_tool_has_its_use() -> None:
    """A tool that is shipped is drilled: one entry in `drill.mixture.uses` says how."""
    assert {tool.name for tool in read_catalog(tools_dir()).tools} == set(USES)


@pytest.mark.timeout(3600)
def test_nothing_is_left(
    served: Served,
    engine: OwnEngine,
    meets: FetchTargets,
    is_short: bool,
    seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    """Every call ended once with its receipt, right where nothing came between, never wrong; no
    container, process, mount, socket, thread or descriptor is left.
    """
    chance = random.Random(seed)
    ground = Ground(served=served, engine=engine, mounts=frozenset(engine.mounts()))
    stage = Stage(
        served=served,
        engine=engine,
        places=meets,
        desks=2 if is_short else 4,
        trials=TRIALS,
        once=every_trial(),
    )
    part = SHORT if is_short else FULL
    print(f"SEED={seed}")
    began_s = time.monotonic()
    first = stage.play(chance, *part[0])
    assert settled(ground.left) == {}
    warm = ground.idle()
    second = stage.play(chance, *part[1])
    took_s = time.monotonic() - began_s
    assert settled(ground.left) == {}
    assert settled(lambda: more_than(warm, ground.idle())) == {}
    both = first + second
    record_property(
        "summary",
        f"SEED={seed} {took_s:.0f} s: {both}; idle with {warm}, then {ground.idle()}",
    )
    planned = Counter(part[0][1]) + Counter(part[1][1])
    assert Counter(fault.kind for fault in both.faults) == planned
    assert {each.wish.tool for each in both.made} >= set(USES)
    assert len(both.untouched) > len(both.made) // 4
    assert [str(each) for each in both.untouched if not each.is_right] == []
    assert [str(each) for each in both.made if each.is_wrong] == []
    record = read_record(served.folder.store)
    check_record(record, served.folder.path / "trust-root.json")
    lives = 1 + sum(fault.kind == "broker killed" for fault in both.faults)
    assert record.epoch == lives
    assert record.states == {each.call.name: each.state for each in both.made}
    assert served.stop() == 0
    assert settled(ground.left) == {}
    assert ground.left_without_engine() == []
