"""A broker that keeps containers waiting: calls get them, nobody gets one twice, none is left."""

import json
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import docker
from tenacity import Retrying, stop_after_delay, wait_fixed

from broker.adapters.docker_engine.settings import SLOT_LABEL
from broker.config_template import Settings
from broker.v1 import call_pb2
from tests.api.rpc import Rpc, state
from tests.broker_process import DOCKER_URL, Served
from tests.conftest import ServeOne

POOLED: Settings = {
    "pool": {"containers": 3},
    "limits": {"calls_per_second": 1000, "burst": 1000},
}
CODE = "import os; print(os.listdir('/tmp')); open('/tmp/used', 'w')"
UNUSED = "[]\n"


def slots(served: Served) -> list[str]:
    """List the slots of the calls that began, in their order, as recorded."""
    with sqlite3.connect(f"file:{served.folder.store}?mode=ro", uri=True) as store:
        rows = store.execute(
            "SELECT data FROM events WHERE type = 'run.starting' ORDER BY sequence"
        ).fetchall()
    return [json.loads(row[0])["slot"] for row in rows]


def waiting(served: Served) -> set[str]:
    """Give the slots of the containers that are there, once there is one and no more come."""
    client = docker.APIClient(DOCKER_URL)
    wanted = {"label": f"org.toolwarrant.installation={served.installation}"}
    before: set[str] = set()
    for attempt in Retrying(stop=stop_after_delay(60), wait=wait_fixed(0.5), reraise=True):
        with attempt:
            found = client.containers(filters=wanted)
            now = {each["Labels"][SLOT_LABEL] for each in found}
            before, same = now, bool(now) and now == before
            assert same
    client.close()
    return before


class TestPool:
    def test_the_next_call_gets_what_waits(self, serve: ServeOne) -> None:
        """The first call's container is made for it; the second's waited."""
        served = serve(POOLED)
        agent = Rpc.of(served)
        for _ in range(2):
            there = waiting(served) if slots(served) else set()
            assert agent.execute("python_run", {"code": CODE}).result.stdout_text == UNUSED
        assert [slot in there for slot in slots(served)] == [False, True]
        assert served.stop() == 0

    def test_no_container_serves_two(self, serve: ServeOne) -> None:
        """Sixty calls, eight at a time: each in a container of its own that nobody had used."""
        served = serve(POOLED)
        agent = Rpc.of(served)

        def call(_: int) -> call_pb2.Call:
            return agent.execute("python_run", {"code": CODE})

        with ThreadPoolExecutor(8) as threads:
            calls = list(threads.map(call, range(60)))
        assert Counter(map(state, calls)) == {"SUCCEEDED": 60}
        assert {each.result.stdout_text for each in calls} == {UNUSED}
        assert len(set(slots(served))) == 60
        assert served.stop() == 0

    def test_each_runs_as_somebody_of_the_configured_range(self, serve: ServeOne) -> None:
        """Made for a call or ahead of it, each runs as another user of the configured range."""
        served = serve({**POOLED, "sandbox": {"first_uid": 70_000, "uid_count": 4096}})
        agent = Rpc.of(served)
        code = {"code": "import os; print(os.getuid())"}
        users = [int(agent.execute("python_run", code).result.stdout_text) for _ in range(3)]
        assert len(set(users)) == 3
        assert set(users) < set(range(70_000, 74_096))
        assert served.stop() == 0

    def test_a_crash_leaves_nothing_behind_the_next_start(self, serve: ServeOne) -> None:
        """What waited when the broker was killed serves nobody, and is gone at the next start."""
        served = serve(POOLED)
        Rpc.of(served).execute("python_run", {"code": CODE})
        old = waiting(served)
        served.kill()
        served.start()
        call = Rpc.of(served).execute("python_run", {"code": CODE})
        assert call.result.stdout_text == UNUSED
        assert not old & (waiting(served) | set(slots(served)))
        assert served.stop() == 0
