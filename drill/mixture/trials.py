"""Do to a call what agents, people and bad programs do: one entry a kind."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from broker.client import Client, Download, Output, state_of
from broker.core.lifecycle import CallState
from broker.v1 import call_pb2
from drill.mixture.book import Wish
from drill.mixture.desk import Desk
from drill.mixture.uses import TEXT, USES, put, said
from tests.sandbox.test_limits import FORK_BOMB

_SLEEP = "import time; time.sleep(60)"
_WAITING = (CallState.QUEUED, CallState.RECEIVED)
_LOOK_S = 0.2

Trial = Callable[[Desk], object]


def _ends(
    kind: str,
    state: CallState,
    code: str,
    *,
    cause: str = "",
    purpose: str = "",
    timeout_s: float | None = None,
) -> Wish:
    """Make a wish of python_run that ends in this state, by this cause."""
    return Wish(
        kind=kind,
        tool="python_run",
        arguments={"code": code},
        is_right=lambda call: call.cause == cause,
        states=frozenset({state}),
        purpose=purpose,
        timeout_s=timeout_s,
    )


def _use(desk: Desk, tool: str = "") -> None:
    desk.carry(USES[tool or desk.chance.choice(sorted(USES))](desk))


def _approved(desk: Desk) -> None:
    wish = USES[desk.chance.choice(sorted(USES))](desk)
    desk.carry(replace(wish, kind="approved", purpose="hold"))


def _rejected(desk: Desk) -> None:
    wish = _ends("rejected", CallState.REJECTED, "print(1)", purpose="hold")
    desk.carry(wish, meanwhile=desk.reject)


def _expired(desk: Desk) -> None:
    cause = "decide_by_passed"
    wish = _ends("expired", CallState.EXPIRED, "print(1)", cause=cause, purpose="hold:decide-1")
    desk.carry(wish, meanwhile=lambda _: None)


def _denied(desk: Desk) -> None:
    wish = _ends("denied", CallState.DENIED, "print(1)")
    others = (
        replace(wish, purpose="deny"),
        replace(wish, tool="no_such_tool", arguments={}),
        replace(wish, tool="workspace_read", arguments={"path": ".env"}),
    )
    desk.carry(desk.chance.choice(others))


def _egress_refused(desk: Desk) -> None:
    wish = Wish(
        kind="egress refused",
        tool="http_fetch",
        arguments={"url": f"http://{desk.places.closed}/"},
        is_right=lambda call: "ADDRESS_DENIED" in call.result.stderr_text,
        states=frozenset({CallState.FAILED}),
    )
    desk.carry(wish)


def _memory_bomb(desk: Desk) -> None:
    code = "x = b'x' * 80_000_000; print(len(x))"
    desk.carry(_ends("memory bomb", CallState.KILLED, code, cause="memory", purpose="small"))


def _fork_bomb(desk: Desk) -> None:
    wish = _ends("fork bomb", CallState.SUCCEEDED, FORK_BOMB)
    desk.carry(replace(wish, is_right=lambda call: call.result.stdout_text == "refused\n"))


def _output_flood(desk: Desk) -> None:
    code = "while True: print('x' * 65536)"
    desk.carry(_ends("output flood", CallState.KILLED, code, cause="output_cap"))


def _timed_out(desk: Desk) -> None:
    deaf = (
        "import signal; signal.signal(15, signal.SIG_IGN); " if desk.chance.random() < 0.5 else ""
    )
    wish = _ends("timed out", CallState.TIMED_OUT, deaf + _SLEEP, cause="timeout", timeout_s=0.5)
    desk.carry(wish)


def _failed(desk: Desk) -> None:
    desk.carry(_ends("failed", CallState.FAILED, "raise SystemExit(3)", cause="exited"))


def _cancelled_held(desk: Desk) -> None:
    wish = _cancelled("cancelled held")
    desk.carry(replace(wish, purpose="hold"), meanwhile=desk.cancel)


def _cancelled_at_once(desk: Desk) -> None:
    wish = _cancelled("cancelled at once")
    desk.carry(wish, desk.call(wish, no_wait=True), desk.cancel)


def _cancelled_running(desk: Desk) -> None:
    def cancel(begun: call_pb2.Call) -> None:
        state = state_of(begun)
        while state in _WAITING:
            state = state_of(desk.asking.ask(lambda client: client.wait(begun.name, _LOOK_S)))
        desk.cancel(begun)

    wish = _cancelled("cancelled running")
    desk.carry(wish, desk.call(wish, no_wait=True), cancel)


def _cancelled(kind: str) -> Wish:
    return _ends(kind, CallState.CANCELLED, _SLEEP, cause="cancelled")


def _watched(desk: Desk) -> None:
    """Follow a call's output; leave early, or compare what came with the result."""
    word = desk.draw()
    code = f"for n in range(200): print({word!r}, n, flush=True)"
    right = "".join(f"{word} {n}\n" for n in range(200))
    leaves_after = desk.chance.choice([0, 1, 3, None])
    came: list[bytes] = []

    def look(client: Client, name: str) -> None:
        came.clear()
        for count, item in enumerate(client.watch(name)):
            if isinstance(item, Output):
                came.append(item.data)
            if count == leaves_after:
                return

    def is_right(call: call_pb2.Call) -> bool:
        whole = call.result.stdout_text == right
        return whole and (leaves_after is not None or b"".join(came).decode() == right)

    wish = replace(_ends("watched", CallState.SUCCEEDED, code), is_right=is_right)
    desk.carry(
        wish,
        desk.call(wish, no_wait=True),
        lambda begun: desk.asking.ask(lambda client: look(client, begun.name)),
    )


def _put(desk: Desk) -> None:
    # There already after the first time: then it is held as an overwriting.
    put(desk, "put.bin", desk.draw().encode() * desk.chance.randint(1, 10_000))


def _get(desk: Desk) -> None:
    path = desk.chance.choice([*desk.files, TEXT])
    right = desk.files[path]
    got: list[Download] = []

    def begin(client: Client, request_id: str) -> call_pb2.Call:
        got.append(client.fetch(path, request_id=request_id, session=desk.session))
        return got[-1].call

    wish = Wish(
        kind="get",
        tool="workspace_read",
        arguments={"path": path},
        is_right=lambda _: got[-1].data == right,
    )
    desk.carry(wish, begin)


def _files(desk: Desk) -> None:
    right = {path: len(data) for path, data in desk.files.items()}
    sizes: dict[str, int] = {}

    def begin(client: Client, request_id: str) -> call_pb2.Call:
        found = client.files(request_id=request_id, session=desk.session)
        sizes.update({each.path: each.size_bytes for each in found.files})
        return found.call

    wish = Wish(
        kind="list",
        tool="workspace_list",
        arguments={},
        is_right=lambda call: bool(said(call)) and right.items() <= sizes.items(),
    )
    desk.carry(wish, begin)


TRIALS: dict[Trial, int] = {
    _use: 24,
    _approved: 6,
    _rejected: 2,
    _expired: 2,
    _denied: 4,
    _egress_refused: 2,
    _memory_bomb: 2,
    _fork_bomb: 1,
    _output_flood: 2,
    _timed_out: 3,
    _failed: 1,
    _cancelled_held: 2,
    _cancelled_at_once: 3,
    _cancelled_running: 3,
    _watched: 3,
    _put: 3,
    _get: 3,
    _files: 2,
}
"""What is done, with how often among the others."""


def every_trial() -> list[Trial]:
    """Give each tool's use and each other trial once."""
    uses = [partial(_use, tool=tool) for tool in sorted(USES)]
    return [*uses, *(trial for trial in TRIALS if trial is not _use)]
