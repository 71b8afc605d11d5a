"""Practise a halt on a running broker: measure it, harm nobody."""

import secrets
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import cast

from broker.cli.documents import Plain
from broker.cli.exits import Exit
from broker.cli.phrases import state_word
from broker.cli.terminal import document, lines, note, say
from broker.client import Client, ClientError, state_of
from broker.core.lifecycle import CallState
from broker.v1 import call_pb2

_PROGRAM = "import time; time.sleep(120)"
_BEGIN_S = 60.0
# After one has begun, until the next one does: a sandbox is made in a fraction of it.
_MORE_S = 8.0
_LOOK_EVERY_S = 0.1
_REASON = "drill: measures how fast a halt is"


def drill(admin: Client, caller: Client, count: int, *, as_json: bool) -> Exit:
    """Run calls, halt their session, say how long it took until every one was dead.

    The end of a call is recorded when the Engine has said that its container has ended, so the
    figure is an upper bound of the time until the last container was dead.

    Args:
        caller: Makes the calls, in a session that nobody else has.
    """
    # Who may not halt hears so before anything runs.
    admin.halts()
    session = f"halt-drill-{secrets.token_hex(8)}"
    with ThreadPoolExecutor(count) as pool:
        calls = [
            pool.submit(caller.call, "python_run", {"code": _PROGRAM}, session=session)
            for _ in range(count)
        ]
        try:
            running = _wait_until_running(caller, session, calls)
            if not running:
                _say_why_not(calls)
                return Exit.TOOL_FAILED
            found, dead = _measure(admin, running[0].agent, session, calls)
        finally:
            # Before the halt is lifted: what waits would begin once it is.
            _cancel(caller, session)
            _lift(admin, session)
    _report({**found, "calls": count, "dead": dead, "session": session}, count, as_json)
    return Exit.OK if dead == found["killed"] == count else Exit.TOOL_FAILED


def _measure(
    admin: Client, agent: str, session: str, calls: list[Future[call_pb2.Call]]
) -> tuple[dict[str, Plain], int]:
    sent_s = time.monotonic()
    halt = admin.halt(_REASON, agent=agent, session=session)
    answered_s = time.monotonic()
    ended = _ended_by_halt(calls, halt.killed)
    seen_s = time.monotonic()
    set_at = halt.halt.set_at.ToNanoseconds()
    last_ms = max((call.ended_at.ToNanoseconds() - set_at) / 1e6 for call in ended) if ended else 0
    found: dict[str, Plain] = {
        "last_dead_ms": round(last_ms, 1),
        "answered_ms": round((answered_s - sent_s) * 1000, 1),
        "seen_ms": round((seen_s - sent_s) * 1000, 1),
        "killed": halt.killed,
    }
    return found, len(ended)


def _wait_until_running(
    caller: Client, session: str, calls: list[Future[call_pb2.Call]]
) -> list[call_pb2.Call]:
    """Give the calls that run once all do, or those that do when no more begin."""
    seen = 0
    deadline_s = time.monotonic() + _BEGIN_S
    while True:
        running = caller.calls(f"session={session} state=RUNNING", limit=len(calls))
        if len(running) > seen:
            seen = len(running)
            deadline_s = time.monotonic() + _MORE_S
        over = time.monotonic() >= deadline_s or any(call.done() for call in calls)
        if len(running) == len(calls) or over:
            return running
        time.sleep(_LOOK_EVERY_S)


def _ended_by_halt(calls: list[Future[call_pb2.Call]], wait_for: int) -> list[call_pb2.Call]:
    """Give the calls that the halt killed, once there are as many of them."""
    deadline_s = time.monotonic() + _BEGIN_S
    while True:
        ended = [call.result() for call in calls if call.done() and not call.exception()]
        killed = [
            call for call in ended if state_of(call) is CallState.KILLED and call.cause == "halted"
        ]
        if len(killed) >= wait_for or time.monotonic() >= deadline_s:
            return killed
        time.sleep(_LOOK_EVERY_S / 10)


def _cancel(caller: Client, session: str) -> None:
    """End what the halt did not: calls that never began would begin once it is lifted."""
    with suppress(ClientError):
        for call in caller.calls(f"session={session}", limit=200):
            state = state_of(call)
            if state is None or not state.is_final:
                with suppress(ClientError):
                    caller.cancel(call.name)


def _lift(admin: Client, session: str) -> None:
    """Lift the drill's halt, also where its answer was lost."""
    for halt in admin.halts():
        if halt.scope.session_id == session:
            admin.resume(halt.name)


def _say_why_not(calls: list[Future[call_pb2.Call]]) -> None:
    note("no call of the drill could run, so nothing was halted:")
    for call in calls:
        if call.done() and (error := call.exception()):
            note(lines(f"  {error}"))
        elif call.done():
            ended = call.result()
            rules = ", ".join(reason.rule for reason in ended.decision.reasons)
            note(lines(f"  {state_word(ended)}  {rules}"))


def _report(found: dict[str, Plain], asked: int, as_json: bool) -> None:
    if as_json:
        document(found)
        return
    say(
        f"from halt to the last container dead: {found['last_dead_ms']} ms"
        f" ({found['dead']} of {found['killed']} running calls, each KILLED with its receipt)"
    )
    note(f"  answered after {found['answered_ms']} ms; all ends seen after {found['seen_ms']} ms")
    if lacking := asked - cast("int", found["killed"]):
        note(f"  {lacking} more did not begin, for want of a free sandbox: see --drill-calls")
    note("  the halt is lifted again; nobody else's calls were touched")
