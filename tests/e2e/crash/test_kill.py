"""`kill -9` of the broker while a call is held, queued, running, and at random moments."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from broker.client import ClientError, state_of
from broker.core.lifecycle import CallState
from broker.v1 import call_pb2
from tests.broker_process import Served
from tests.e2e.crash.conftest import Start
from tests.e2e.crash.moments import survive
from tests.e2e.crash.proof import check_record, read_record

SEED = 20261123
SLEEP = {"code": "import time; time.sleep(60)"}


def until_in(served: Served, state: CallState) -> call_pb2.Call:
    """Wait until a call of the agent is in this state, for a while."""
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        if found := served.client().calls(f"state={state.value}"):
            return found[0]
    raise AssertionError(f"no call is {state.value}")


class TestKill:
    def test_held_queued_running(self, start: Start) -> None:
        """After SIGKILL the held call is held as shown, the queued one runs, the running one is
        INTERRUPTED; each once, with one receipt, and no container is left.
        """
        served = start({"sandbox": {"max_running": 1}})
        agent = served.client()
        held = agent.call("workspace_delete", {"path": "a.txt"})
        seen = served.client("approver").hold(held.name)
        with ThreadPoolExecutor(2) as threads:
            calls = [threads.submit(agent.call, "python_run", SLEEP)]
            running = until_in(served, CallState.RUNNING)
            calls.append(threads.submit(agent.call, "python_run", {"code": "print(1)"}))
            queued = until_in(served, CallState.QUEUED)
            served.kill()
        for call in calls:
            with pytest.raises((ClientError, ValueError)):
                call.result()
        assert len(served.containers()) == 1
        served.start()
        agent = served.client()
        shown = served.client("approver").hold(held.name)
        assert shown.view_sha256 == seen.view_sha256
        assert state_of(shown.call) is CallState.HELD
        assert state_of(agent.wait(running.name)) is CallState.INTERRUPTED
        assert state_of(agent.wait(queued.name)) is CallState.SUCCEEDED
        served.client("approver").approve(held.name, shown.view_sha256, "still as it was")
        ended = state_of(agent.wait(held.name))
        assert ended is not None
        assert ended.is_final
        assert served.stop() == 0
        record = read_record(served.folder.store)
        check_record(record, served.folder.path / "trust-root.json")
        assert record.epoch == 2
        started = {call: record.started(call) for call in record.states}
        assert started == {held.name: 1, queued.name: 1, running.name: 1}
        assert sorted(record.receipts) == sorted(started)

    @pytest.mark.timeout(300)
    def test_random_moments(self, start: Start) -> None:
        """Killed at 20 random moments under load, every call that a client heard of is there,
        ended once, run at most once, with one receipt that verifies; nothing is left.
        """
        served = start()
        load, record = survive(served, seed=SEED, moments=20, workers=3)
        assert load.done >= 20
        states = Counter(record.states.values())
        print(f"seed {SEED}: {load.done} calls done, {dict(states)}")
        assert states[CallState.DENIED]
        assert states[CallState.SUCCEEDED]
