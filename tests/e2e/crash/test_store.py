"""A disk without space, a store that another program locks: refused, whole, recovered."""

import resource
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import grpc

from broker.client import state_of
from broker.core.lifecycle import CallState
from tests.broker_process import Served
from tests.e2e.crash.attempt import DENIED, QUICK, attempt
from tests.e2e.crash.conftest import Start
from tests.e2e.crash.proof import check_record, read_record
from tests.e2e.crash.test_kill import until_in


@contextmanager
def full_disk(served: Served) -> Iterator[None]:
    """Let every write of the broker to a file fail, its log's too, as on a full disk."""
    limit = resource.RLIMIT_FSIZE
    before = resource.prlimit(served.process.pid, limit)
    resource.prlimit(served.process.pid, limit, (0, before[1]))
    try:
        yield
    finally:
        # One that was killed meanwhile has no limit to raise.
        with suppress(ProcessLookupError):
            resource.prlimit(served.process.pid, limit, before)


def refused_whole(served: Served) -> None:
    """Fail unless calls are UNAVAILABLE and leave nothing in the store."""
    rows = served.rows()
    for tool, arguments in (DENIED, QUICK, DENIED):
        call, error = attempt(served, tool, arguments)
        assert call is None
        assert error is not None
        assert error.code is grpc.StatusCode.UNAVAILABLE
        assert error.retry_after_s is not None
    assert served.rows() == rows


class TestFullDisk:
    def test_refused_then_recovered(self, start: Start) -> None:
        """While nothing can be written calls are UNAVAILABLE, nothing is half done, and with space
        again the same broker takes calls; a run that ended meanwhile keeps its outcome.
        """
        served = start()
        agent = served.client()
        code = "import time; time.sleep(2); print('kept')"
        with ThreadPoolExecutor(1) as threads:
            running = threads.submit(agent.call, "python_run", {"code": code})
            name = until_in(served, CallState.RUNNING).name
            with full_disk(served):
                refused_whole(served)
                # Longer than the run, so that its end meets the full disk.
                agent.wait(name, timeout_s=4)
                assert not running.done()
            kept = running.result()
        assert state_of(kept) is CallState.SUCCEEDED
        assert kept.result.stdout_text == "kept\n"
        assert state_of(agent.call("workspace_read", {"path": ".env"})) is CallState.DENIED
        assert state_of(agent.call("python_run", {"code": "print(1)"})) is CallState.SUCCEEDED
        assert served.stop() == 0
        check_record(read_record(served.folder.store), served.folder.path / "trust-root.json")

    def test_killed_on_a_full_disk(self, start: Start) -> None:
        """Killed while nothing could be written, the broker comes back to a whole record."""
        served = start()
        assert state_of(served.client().call("python_run", {"code": "1"})) is CallState.SUCCEEDED
        with full_disk(served):
            refused_whole(served)
            served.kill()
        served.start()
        assert state_of(served.client().call("python_run", {"code": "1"})) is CallState.SUCCEEDED
        assert served.stop() == 0
        check_record(read_record(served.folder.store), served.folder.path / "trust-root.json")


class TestLockedStore:
    def test_refused_then_recovered(self, start: Start) -> None:
        """While another program holds the store's write lock calls are UNAVAILABLE; then not."""
        served = start()
        foreign = sqlite3.connect(served.folder.store, isolation_level=None)
        foreign.execute("BEGIN IMMEDIATE")
        call, error = attempt(served, *DENIED)
        foreign.execute("ROLLBACK")
        foreign.close()
        assert call is None
        assert error is not None
        assert error.code is grpc.StatusCode.UNAVAILABLE
        assert "lock" in error.message
        assert state_of(served.client().call("workspace_read", {"path": ".env"})) is (
            CallState.DENIED
        )
