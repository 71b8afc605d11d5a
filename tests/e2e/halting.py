"""Halt calls of a broker as its administrator, for the length of a test."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from broker.v1 import admin_pb2, call_pb2
from tests.broker_process import Served

SLEEP = "import time; time.sleep(100)"
_PATIENCE_S = 60.0


@contextmanager
def halt(served: Served, reason: str = "a test", **scope: Any) -> Iterator[admin_pb2.HaltResponse]:
    """Halt a scope; lift that halt afterwards, whatever happened."""
    admin = served.client("admin")
    done = admin.halt(reason, **scope)
    try:
        yield done
    finally:
        if done.halt.name in {active.name for active in admin.halts()}:
            admin.resume(done.halt.name)


def until(holds: Callable[[], bool], what: str) -> None:
    """Look until something holds."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s, f"never: {what}"


def run_sleepers(
    served: Served, pool: ThreadPoolExecutor, sessions: list[tuple[str, str]]
) -> "dict[tuple[str, str], Future[call_pb2.Call]]":
    """Have one call that sleeps running for each identity with a session."""
    calls = {
        (who, session): pool.submit(
            served.client(who).call, "python_run", {"code": SLEEP}, session=session
        )
        for who, session in sessions
    }
    for who, session in sessions:
        client = served.client(who)
        until(
            lambda client=client, session=session: bool(
                client.calls(f"session={session} state=RUNNING")
            ),
            f"{session} runs",
        )
    return calls
