"""An Engine that is stopped, killed or hung while calls run and start, again and again."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from broker.client import state_of
from broker.core.lifecycle import CallState
from tests.broker_process import Folder
from tests.e2e.crash.attempt import DENIED, QUICK, attempt
from tests.e2e.crash.conftest import Start
from tests.e2e.crash.own_engine import OwnEngine
from tests.e2e.crash.proof import check_record, read_record
from tests.e2e.crash.test_kill import until_in

Trouble = tuple[Callable[[OwnEngine], None], Callable[[OwnEngine], None]]
TROUBLES: dict[str, Trouble] = {
    "stopped": (OwnEngine.stop, OwnEngine.start),
    "killed": (OwnEngine.kill, OwnEngine.start),
    "hung": (OwnEngine.hang, OwnEngine.go_on),
}


@pytest.fixture(scope="module")
def engine(development_folder: Folder) -> Iterator[OwnEngine]:
    """An Engine that may die, with the tools' images."""
    with OwnEngine() as own:
        images = json.loads((development_folder.path / "images.lock.json").read_text())
        own.load(sorted(set(images.values())))
        yield own


@pytest.mark.timeout(1800)
def test_trouble(start: Start, engine: OwnEngine, is_short: bool) -> None:
    """What had begun ends INTERRUPTED, what had not SANDBOX_ERROR, denials go on; when the Engine
    is back calls run, and in the end no container is left.
    """
    served = start({"sandbox": {"docker_url": engine.url}})
    agent = served.client()
    for name in ("stopped",) if is_short else TROUBLES:
        begin, end = TROUBLES[name]
        with ThreadPoolExecutor(1) as threads:
            # So short that its end, too, meets an Engine that hangs.
            running = threads.submit(
                agent.call, "python_run", {"code": "import time; time.sleep(60)"}, timeout_s=5
            )
            until_in(served, CallState.RUNNING)
            begin(engine)
            denied, _ = attempt(served, *DENIED)
            assert denied is not None
            assert state_of(denied) is CallState.DENIED
            starting, error = attempt(served, *QUICK)
            assert error is None, name
            assert starting is not None
            assert state_of(starting) is CallState.SANDBOX_ERROR, name
            interrupted = running.result()
        # An Engine that is stopped kills its containers, and may still say so.
        ends = {CallState.INTERRUPTED} | ({CallState.FAILED} if name == "stopped" else set())
        assert state_of(interrupted) in ends, name
        end(engine)
        again = agent.call("python_run", {"code": "print('back')"})
        assert again.result.stdout_text == "back\n", name
    assert served.stop() == 0
    assert engine.containers() == []
    check_record(read_record(served.folder.store), served.folder.path / "trust-root.json")
