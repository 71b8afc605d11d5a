"""A Docker Engine that dies under running and starting calls."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from broker.client import state_of
from broker.core.lifecycle import CallState
from tests.broker_process import Folder
from tests.e2e.crash.attempt import DENIED, QUICK, attempt
from tests.e2e.crash.conftest import Start
from tests.e2e.crash.own_engine import OwnEngine
from tests.e2e.crash.proof import check_record, read_record
from tests.e2e.crash.test_kill import SLEEP, until_in


@pytest.fixture(scope="module")
def engine(development_folder: Folder) -> Iterator[OwnEngine]:
    """An Engine that may die, with the tools' images."""
    with OwnEngine() as own:
        images = json.loads((development_folder.path / "images.lock.json").read_text())
        own.load(sorted(set(images.values())))
        yield own


class TestKilledEngine:
    @pytest.mark.timeout(180)
    def test_running_and_starting(self, start: Start, engine: OwnEngine) -> None:
        """The running call ends INTERRUPTED, starting ones SANDBOX_ERROR, denials go on; when the
        Engine is back calls run again and nothing of before is left.
        """
        served = start({"sandbox": {"docker_url": engine.url}})
        agent = served.client()
        with ThreadPoolExecutor(1) as threads:
            running = threads.submit(agent.call, "python_run", SLEEP)
            until_in(served, CallState.RUNNING)
            assert engine.processes() != []
            engine.kill()
            starting, error = attempt(served, *QUICK)
            assert error is None
            assert starting is not None
            assert state_of(starting) is CallState.SANDBOX_ERROR
            denied, _ = attempt(served, *DENIED)
            assert denied is not None
            assert state_of(denied) is CallState.DENIED
            interrupted = running.result()
            # Its Engine is still away: everything in its container is dead all the same.
            assert engine.processes() == []
        assert state_of(interrupted) is CallState.INTERRUPTED
        assert interrupted.receipt
        engine.start()
        again = agent.call("python_run", {"code": "print('back')"})
        assert again.result.stdout_text == "back\n"
        assert served.stop() == 0
        assert engine.containers() == []
        record = read_record(served.folder.store)
        check_record(record, served.folder.path / "trust-root.json")
        assert record.started(interrupted.name) == 1
        assert record.started(starting.name) == 0
