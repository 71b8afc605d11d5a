"""SIGTERM under load: what runs ends, what waits is kept, nothing new is taken."""

import signal
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from broker.client import ClientError, state_of
from broker.core.lifecycle import CallState, Step
from tests.broker_process import NotServed, Served
from tests.e2e.crash.attempt import attempt
from tests.e2e.crash.conftest import Start
from tests.e2e.crash.load import Load
from tests.e2e.crash.proof import check_record, read_record
from tests.e2e.crash.test_kill import until_in

ENDLESS = {"code": "import time; time.sleep(50)"}
BRIEF = {"code": "import time; time.sleep(3); print('whole')"}


class TestSigterm:
    def test_drains(self, start: Start) -> None:
        """The running call ends and is answered, a new one is UNAVAILABLE, the queued one runs in
        the next life; exit code 0, no container left.
        """
        served = start({"sandbox": {"max_running": 1}})
        agent = served.client()
        with ThreadPoolExecutor(2) as threads:
            running = threads.submit(agent.call, "python_run", BRIEF)
            until_in(served, CallState.RUNNING)
            behind = threads.submit(agent.call, "python_run", {"code": "print(2)"})
            queued = until_in(served, CallState.QUEUED)
            served.process.send_signal(signal.SIGTERM)
            refused = None
            while refused is None or refused.reason != "DRAINING":
                # Until the signal has arrived, a call may still be taken: a denied one costs least.
                _, refused = attempt(served, "workspace_read", '{"path": ".env"}')
                assert refused is None or refused.code is grpc.StatusCode.UNAVAILABLE
            assert refused.retry_after_s is not None
            answered = running.result()
            assert served.process.wait(timeout=30) == 0
            with pytest.raises(ClientError):
                behind.result()
        assert state_of(answered) is CallState.SUCCEEDED
        assert answered.result.stdout_text == "whole\n"
        assert served.containers() == []
        assert read_record(served.folder.store).states[queued.name] is CallState.QUEUED
        # Dead already: this lets go of its clients, whose address is gone.
        served.kill()
        served.start()
        assert state_of(served.client().wait(queued.name)) is CallState.SUCCEEDED
        assert served.stop() == 0
        check_record(read_record(served.folder.store), served.folder.path / "trust-root.json")

    def test_cuts_off_what_runs_on(self, start: Start) -> None:
        """What still runs when the time is over ends then: its agent is told, with a receipt."""
        served = start({"server": {"drain_timeout_s": 1}})
        agent = served.client()
        with ThreadPoolExecutor(1) as threads:
            running = threads.submit(agent.call, "python_run", ENDLESS)
            until_in(served, CallState.RUNNING)
            served.process.send_signal(signal.SIGTERM)
            answered = running.result()
            assert served.process.wait(timeout=30) == 0
        assert (state_of(answered), answered.cause) == (CallState.INTERRUPTED, "broker_stopped")
        assert "the broker was stopped while it ran" in answered.message
        assert served.containers() == []
        record = read_record(served.folder.store)
        assert record.states == {answered.name: CallState.INTERRUPTED}
        check_record(record, served.folder.path / "trust-root.json")

    def test_under_load(self, start: Start) -> None:
        """Stopped in the midst of many calls, the broker interrupts none of them."""
        served = start({"sandbox": {"max_running": 2}})
        load = Load(served, 5, workers=3)
        load.start()
        load.wait_for_answers(4)
        load.dies()
        assert served.stop() == 0
        record = read_record(served.folder.store)
        assert CallState.RUNNING not in record.states.values()
        served.start()
        load.born()
        load.end()
        assert served.stop() == 0
        record = read_record(served.folder.store)
        check_record(record, served.folder.path / "trust-root.json")
        assert all(Step.INTERRUPT not in steps for steps in record.steps.values())
        assert all(state.is_final for state in record.states.values())


class TestSecondBroker:
    def test_refused(self, start: Start) -> None:
        """A second broker on one store does not start, and says who has it; the first goes on."""
        served = start()
        with pytest.raises(NotServed) as refused:
            Served(served.folder)
        assert refused.value.code != 0
        assert f"another broker (process {served.process.pid}) owns the store" in (
            refused.value.words
        )
        assert "Traceback" not in refused.value.words
        call = served.client().call("workspace_read", {"path": ".env"})
        assert state_of(call) is CallState.DENIED
