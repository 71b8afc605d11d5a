"""One agent's long calls beside another's, with the shares as they are shipped."""

from broker.client import state_of
from broker.core.lifecycle import CallState
from tests.broker_process import UNHURRIED
from tests.conftest import ServeOne

SLEEP = {"code": "import time; time.sleep(600)"}


def test_long_calls_leave_room(serve: ServeOne) -> None:
    """An agent with more long calls than there are sandboxes leaves one to the others."""
    served = serve({**UNHURRIED, "sandbox": {"max_running": 3, "running_per_agent": 0}})
    greedy, modest = served.client("agent"), served.client("agent2")
    calls = [greedy.call("python_run", SLEEP, no_wait=True) for _ in range(5)]
    assert state_of(modest.call("python_run", {"code": "print(1)"})) is CallState.SUCCEEDED
    states = [state_of(greedy.get(call.name)) for call in calls]
    assert states.count(CallState.RUNNING) <= 2
    for call in reversed(calls):
        greedy.cancel(call.name)
    for call in calls:
        greedy.wait(call.name)
