"""Compare denied calls while every sandbox is busy with denied calls on an idle broker."""

import asyncio
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvloop

from bench.denied import denied_side
from bench.figure import Figure, quantiles
from broker.client import Client, state_of
from broker.core.lifecycle import CallState
from tests.broker_process import Served

_BOUND = 2.0
_IN_TURN = 100
_WARM_UP = 700
_WAITS = "import time; time.sleep(600)"
_BURNS = "while True: pass"


def measure(served: Served, *, sandboxes: int, rounds: int) -> list[Figure]:
    """Measure with sandboxes whose programs wait, then with ones whose programs compute.

    Args:
        sandboxes: As many as the broker runs at a time.
        rounds: How often each side is measured, the two in turns.
    """
    return [
        _compare(served, "waiting", _WAITS, sandboxes, rounds),
        _compare(served, "computing", _BURNS, sandboxes, rounds),
    ]


def _compare(served: Served, how: str, code: str, sandboxes: int, rounds: int) -> Figure:
    taken_ms: dict[str, list[float]] = {"idle": [], "busy": []}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_denied(served, _WARM_UP))
        for _ in range(rounds):
            taken_ms["idle"] += runner.run(_denied(served, _IN_TURN))
            # Another agent's: the policy lets nobody run who was denied so often.
            with _filled(served.client("agent2"), code, sandboxes):
                taken_ms["busy"] += runner.run(_denied(served, _IN_TURN))
    p99 = {name: statistics.quantiles(taken, n=100)[98] for name, taken in taken_ms.items()}
    return Figure(
        name=f"denied call, every sandbox {how} / none in use, p99",
        unit="ms",
        ours=p99["busy"],
        theirs=p99["idle"],
        bound=_BOUND,
        conditions=f"{sandboxes} sandboxes and a queue behind them, {rounds} rounds of {_IN_TURN} "
        f"calls each; busy {quantiles(taken_ms['busy'])}; idle {quantiles(taken_ms['idle'])}",
        samples=taken_ms,
    )


async def _denied(served: Served, count: int) -> list[float]:
    async with denied_side(served) as side:
        return await side.in_turn(count)


@contextmanager
def _filled(agent: Client, code: str, sandboxes: int) -> Iterator[None]:
    """Have a program in every sandbox, as many more calls waiting for one."""
    calls = [agent.call("python_run", {"code": code}, no_wait=True) for _ in range(2 * sandboxes)]
    try:
        running = calls[:sandboxes]
        while {state_of(agent.get(call.name)) for call in running} != {CallState.RUNNING}:
            time.sleep(0.05)
        yield
    finally:
        for call in reversed(calls):
            agent.cancel(call.name)
        for call in calls:
            agent.wait(call.name)
