"""Keep book of the calls of a drill, and of what was done to them."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from broker.client import state_of
from broker.core.lifecycle import CallState
from broker.v1 import call_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked of a tool, and what a right answer is.

    Args:
        kind: Which part of the mixture it is.
        states: How it ends where nothing comes between.
        is_right: Whether the call's result is what it has to be in that state.
        purpose: Steers the drill's policy.
        timeout_s: How long the tool may run; None: as long as it wants.
    """

    kind: str
    tool: str
    arguments: dict[str, object]
    is_right: Callable[[call_pb2.Call], bool]
    states: frozenset[CallState] = frozenset({CallState.SUCCEEDED})
    purpose: str = ""
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A call that ended, as its agent saw it; times are monotonic, in seconds."""

    agent: str
    wish: Wish
    call: call_pb2.Call
    began_s: float
    ended_s: float

    @property
    def state(self) -> CallState:
        """How it ended."""
        state = state_of(self.call)
        assert state is not None
        return state

    @property
    def is_right(self) -> bool:
        """Whether it ended as it does where nothing comes between, with the right answer."""
        try:
            return self.state in self.wish.states and self.wish.is_right(self.call)
        except (ValueError, KeyError):
            return False

    @property
    def is_wrong(self) -> bool:
        """Whether it says that it succeeded, and did not."""
        return self.state is CallState.SUCCEEDED and not self.is_right

    def __str__(self) -> str:
        cause = f" ({self.call.cause})" if self.call.cause else ""
        said = self.call.result.stdout_text[-200:] + self.call.result.stderr_text[-200:]
        return (
            f"{self.call.name} {self.wish.kind} {self.wish.tool} {self.state.value}{cause}: {said}"
        )


class Book:
    """Hands out tickets, one for each turn of a worker; takes the calls down. Thread-safe.

    Args:
        turns: How many there are at least: there are more as long as fate is at work.
    """

    def __init__(self, turns: int) -> None:
        self.turns = turns
        self.made: list[Made] = []
        self.errors: list[BaseException] = []
        self._left = turns
        self._done = 0
        self._is_fate_at_work = True
        self._moved = threading.Condition()

    def take(self) -> bool:
        """Take a ticket; none is left when fate is done and all turns are given, or one failed."""
        with self._moved:
            if self.errors or (self._left <= 0 and not self._is_fate_at_work):
                return False
            self._left -= 1
            return True

    def turn_done(self) -> None:
        """Count a turn."""
        with self._moved:
            self._done += 1
            self._moved.notify_all()

    def fail(self, error: BaseException) -> None:
        """Note the fault of a worker, which ends the drill."""
        with self._moved:
            self.errors.append(error)
            self._moved.notify_all()

    def fate_done(self) -> None:
        """Note that nothing more will be done to the calls."""
        with self._moved:
            self._is_fate_at_work = False

    def note(self, made: Made) -> None:
        """Take a call down."""
        with self._moved:
            self.made.append(made)

    def wait_for(self, turns: int) -> None:
        """Return when so many turns are done, or a worker failed."""
        with self._moved:
            self._moved.wait_for(lambda: self._done >= turns or self.errors)

    @property
    def has_failed(self) -> bool:
        """Whether a worker failed, so that no turn follows."""
        with self._moved:
            return bool(self.errors)
