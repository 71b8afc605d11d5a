"""Keep several agents' worth of calls going, whatever becomes of the broker."""

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import grpc

from broker.client import Client, ClientError, state_of
from broker.client_channel import open_channel
from broker.config import load
from broker.core.lifecycle import CallState
from broker.v1 import call_pb2
from tests.broker_process import Served

AGENTS = ("agent", "agent2")
_RETRIES = 400
_LONGEST_PAUSE_S = 0.05
_LOST = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)

Answer = TypeVar("Answer")


class Load:
    """Workers that call, approve and cancel; each call is asked for until it is final.

    A worker whose broker died waits for the next one, then sends the same request_id again: what
    was recorded is found, what was not is recorded now.

    Args:
        served: The broker; tell `alive` before its death and after its return.
        seed: Which calls are made, though not when.
        workers: How many of each agent.
        denials: How many denied calls there are for each call of another kind that is one of five:
            they are quick, so many of them let the log grow fast.
    """

    def __init__(self, served: Served, seed: int, *, workers: int, denials: int = 1) -> None:
        self._served = served
        self._denials = denials
        self._is_ending = threading.Event()
        self._is_given_up = False
        self._is_alive = threading.Event()
        self._clients = threading.local()
        self._life = 0
        self._lock = threading.Lock()
        self._answered = threading.Condition(self._lock)
        self._answers = 0
        self._callers = ThreadPoolExecutor(2 * workers)
        self.acknowledged: dict[str, str] = {}
        """Name that a client got of a call, with the last state that it was told."""
        self.done = 0
        self.faults: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._work, args=(agent, seed * 1000 + number))
            for number in range(workers)
            for agent in AGENTS
        ]

    def start(self) -> None:
        """Begin calling."""
        self.born()
        for thread in self._threads:
            thread.start()

    def dies(self) -> None:
        """Take note that the broker is about to die."""
        self._is_alive.clear()

    def born(self) -> None:
        """Take note that a broker is ready."""
        with self._lock:
            self._life += 1
        self._is_alive.set()

    def wait_for_answers(self, count: int) -> None:
        """Return when this many more calls were answered, or a worker met a fault."""
        with self._lock:
            until = self._answers + count
            self._answered.wait_for(lambda: self.faults or self._answers >= until)

    def end(self) -> None:
        """Let every worker bring its call to the end, then stop."""
        self._is_ending.set()
        for thread in self._threads:
            thread.join()
        self._callers.shutdown()
        if self.faults:
            raise self.faults[0]

    def give_up(self) -> None:
        """Stop at once, of a test that failed: no broker may come back."""
        self._is_given_up = True
        self._is_ending.set()
        self._is_alive.set()

    # --- one worker -----------------------------------------------------------------------

    def _work(self, agent: str, seed: int) -> None:
        chance = random.Random(seed)
        kinds = (self._denied, self._short, self._short, self._held, self._cancelled)
        weights = (self._denials, 1, 1, 1, 1)
        try:
            while not self._is_ending.is_set():
                (kind,) = chance.choices(kinds, weights)
                kind(agent, uuid.UUID(int=chance.getrandbits(128)).hex)
                with self._lock:
                    self.done += 1
        except BaseException as error:
            # A thread's fault is told by `end`.
            with self._lock:
                self.faults.append(error)
                self._answered.notify_all()

    def _denied(self, agent: str, request_id: str) -> None:
        call = self._call(agent, request_id, "workspace_read", {"path": ".env"})
        assert call.state == call_pb2.CALL_STATE_DENIED

    def _short(self, agent: str, request_id: str) -> None:
        self._call(agent, request_id, "python_run", {"code": f"print('{request_id}')"})

    def _held(self, agent: str, request_id: str) -> None:
        held = self._call(agent, request_id, "workspace_delete", {"path": f"{request_id}.txt"})

        def approve(client: Client) -> None:
            call = client.get(held.name)
            if state_of(call) is CallState.HELD:
                shown = client.hold(held.name)
                with _decided_before():
                    client.approve(held.name, shown.view_sha256, "as the drill wants")

        self._again("approver2", approve)
        self._finish(agent, held.name)

    def _cancelled(self, agent: str, request_id: str) -> None:
        code = "import time; time.sleep(30)"
        calling = self._callers.submit(
            self._call, agent, request_id, "python_run", {"code": code}, session=request_id
        )

        def cancel(client: Client) -> None:
            while not calling.done():
                for call in client.calls(f"session={request_id}"):
                    state = state_of(call)
                    assert state is not None
                    if not state.is_final:
                        with _decided_before():
                            client.cancel(call.name)
                        return

        self._again(agent, cancel)
        self._finish(agent, calling.result().name)

    # --- asking until there is an answer --------------------------------------------------

    def _call(
        self,
        agent: str,
        request_id: str,
        tool: str,
        arguments: dict[str, object],
        session: str = "",
    ) -> call_pb2.Call:
        call = self._again(
            agent,
            lambda client: client.call(tool, arguments, request_id=request_id, session=session),
        )
        return self._note(call)

    def _finish(self, agent: str, name: str) -> None:
        call = self._note(self._again(agent, lambda client: client.wait(name)))
        state = state_of(call)
        assert state is not None
        assert state.is_final

    def _note(self, call: call_pb2.Call) -> call_pb2.Call:
        state = state_of(call)
        assert state is not None
        with self._lock:
            known = self.acknowledged.get(call.name)
            # What was told as final stays so, through every life.
            assert known in (None, state.value) or not CallState(known).is_final
            self.acknowledged[call.name] = state.value
            self._answers += 1
            self._answered.notify_all()
        return call

    def _again(self, identity: str, ask: Callable[[Client], Answer]) -> Answer:
        for _ in range(_RETRIES):
            self._is_alive.wait()
            if self._is_given_up:
                break
            try:
                return ask(self._client(identity))
            except ClientError as error:
                if error.code not in _LOST:
                    raise
        raise AssertionError("the broker never answered")

    def _client(self, identity: str) -> Client:
        kept: dict[tuple[str, int], Client] = self._clients.__dict__.setdefault("kept", {})
        key = (identity, self._life)
        if key not in kept:
            channel, target = open_channel(
                load(self._served.folder.config), identity, self._served.target
            )
            # A dead broker's address is never worth a long pause: the next one has another.
            kept[key] = Client(
                channel, target=target, sleep=lambda s: time.sleep(min(s, _LONGEST_PAUSE_S))
            )
        return kept[key]


@contextmanager
def _decided_before() -> Iterator[None]:
    """Take a vote, or a cancellation, that counted although its answer was lost, for done."""
    try:
        yield
    except ClientError as error:
        if error.reason not in ("ALREADY_VOTED", "CALL_NOT_HELD", "CALL_ENDED"):
            raise
