"""Count what one call's connections do, hold them to their bounds."""

from broker.adapters.egress_proxy.bounds import Bounds
from broker.core.destination import Destination
from broker.core.egress import EgressReason, EgressReport, Verdict, Visit
from broker.errors import EgressRefused


def refused(reason: EgressReason, message: str) -> EgressRefused:
    """Make the error of a connection that may not be."""
    return EgressRefused(message, reason=reason.value)


class Wish:
    """One connection of a tool: where it wants to go, what became of it so far."""

    def __init__(self, tally: "Tally") -> None:
        self._tally = tally
        self.kind = ""
        self.destination: Destination | None = None
        self.verdict = Verdict.REFUSED
        self.reason: EgressReason | None = EgressReason.CALL_ENDED
        self.sent_bytes = 0
        self.received_bytes = 0

    def connected(self) -> None:
        """Note that the place was reached; from here on it ends well unless somebody says so."""
        self.verdict, self.reason = Verdict.CONNECTED, None

    def send(self, size_bytes: int) -> None:
        """Count bytes that go towards the place.

        Raises:
            EgressRefused: They are more than the call may send.
        """
        self._tally.take_sent(size_bytes)
        self.sent_bytes += size_bytes

    def receive(self, size_bytes: int) -> None:
        """Count bytes that come back.

        Raises:
            EgressRefused: They are more than the call may receive.
        """
        self._tally.take_received(size_bytes)
        self.received_bytes += size_bytes

    @property
    def visit(self) -> Visit:
        """Give what is to be recorded."""
        return Visit(
            host=self.destination.host if self.destination else "",
            port=self.destination.port if self.destination else 0,
            kind=self.kind,
            verdict=self.verdict,
            reason=self.reason,
            sent_bytes=self.sent_bytes,
            received_bytes=self.received_bytes,
        )


class Tally:
    """The wishes of one call, with what is left of its bounds."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._wishes: list[Wish] = []
        self._unlisted = 0
        self._open = 0
        self._sent_left = bounds.bytes_each_way
        self._received_left = bounds.bytes_each_way

    def begin(self) -> Wish | None:
        """Count a connection that a tool opens; None where it is one too many, closed unheard.

        `end` gives back its place.
        """
        if len(self._wishes) >= self._bounds.wishes:
            self._unlisted += 1
            return None
        wish = Wish(self)
        self._wishes.append(wish)
        if self._open >= self._bounds.connections:
            wish.reason = EgressReason.TOO_MANY_CONNECTIONS
            return None
        self._open += 1
        return wish

    @property
    def is_spent(self) -> bool:
        """Tell whether the call had more wishes than it may have."""
        return self._unlisted > 0

    def end(self) -> None:
        """Count a connection that is closed."""
        self._open -= 1

    def take_sent(self, size_bytes: int) -> None:
        """Take from what the call may send."""
        if size_bytes > self._sent_left:
            raise refused(
                EgressReason.TOO_MANY_BYTES, "this call may send no more bytes: send less"
            )
        self._sent_left -= size_bytes

    def take_received(self, size_bytes: int) -> None:
        """Take from what the call may receive."""
        if size_bytes > self._received_left:
            raise refused(
                EgressReason.TOO_MANY_BYTES, "this call may receive no more bytes: ask for less"
            )
        self._received_left -= size_bytes

    @property
    def report(self) -> EgressReport:
        """Give everything that was counted."""
        return EgressReport(
            visits=tuple(wish.visit for wish in self._wishes), unlisted=self._unlisted
        )
