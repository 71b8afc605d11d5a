"""Name who tells people how the broker does."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from broker.core.call import Call
from broker.core.halt import Halt
from broker.core.lifecycle import Step


class Telemetry(Protocol):
    """Tell people how the broker does; never raises, never waits, gets no content."""

    def recorded(self, call: Call, steps: Sequence[Step]) -> None:
        """Note a durable commit: the steps that it took, the call as it stands after the last."""

    def taken_up(self, call: Call) -> None:
        """Note an open call of an earlier life."""

    def decided(self, engine: str, seconds: float) -> None:
        """Note how long policy took to answer."""

    def refused(self, rpc: str, reason: str) -> None:
        """Note an RPC that ended in an error."""

    def halted(self, halt: Halt, active: int) -> None:
        """Note a halt that was set, or found at start, and how many are active with it."""

    def resumed(self, halt: Halt, active: int) -> None:
        """Note a halt that was lifted, and how many are still active."""

    def sandbox_taken(self, *, was_waiting: bool) -> None:
        """Note a container that a call gets, and whether it was there before the call."""

    def sandboxes_waiting(self, containers: int) -> None:
        """Note how many containers wait for calls."""

    def witnesses_lag(self, entries: Mapping[str, int], unwitnessed: int) -> None:
        """Note how many entries each witness, and the quorum, are behind the log's head."""

    def stopping(self, running: int) -> None:
        """Note that the broker stops, and how many calls it lets end first."""

    def alarm(self, what: str, error: BaseException) -> None:
        """Note a fault that an operator has to look at."""
