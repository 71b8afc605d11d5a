"""Describe what a container may reach, and what it did reach."""

from dataclasses import dataclass, replace
from enum import Enum

from broker.core.canonical import JsonObject
from broker.core.destination import Destination


class EgressProtocol(Enum):
    """How a tool speaks to the places on its list."""

    HTTP = "http"
    """Through one socket that is an HTTP/1.1 proxy: absolute-form for http, CONNECT for https."""
    TCP = "tcp"
    """Through one socket for each place, whose bytes nobody looks at."""


class Verdict(Enum):
    """What became of one wish to connect."""

    CONNECTED = "connected"
    REFUSED = "refused"
    FAILED = "failed"
    """It was allowed, but the place could not be reached."""


class EgressReason(Enum):
    """Why a connection was refused, failed, or ended before its peers ended it."""

    NOT_LISTED = "NOT_LISTED"
    NAME_INVALID = "NAME_INVALID"
    ADDRESS_DENIED = "ADDRESS_DENIED"
    HOST_MISMATCH = "HOST_MISMATCH"
    REQUEST_INVALID = "REQUEST_INVALID"
    NOT_TLS = "NOT_TLS"
    SNI_MISSING = "SNI_MISSING"
    SNI_MISMATCH = "SNI_MISMATCH"
    HELLO_ENCRYPTED = "HELLO_ENCRYPTED"
    TOO_SLOW = "TOO_SLOW"
    TOO_MANY_CONNECTIONS = "TOO_MANY_CONNECTIONS"
    TOO_MANY_BYTES = "TOO_MANY_BYTES"
    IDLE = "IDLE"
    NAME_UNKNOWN = "NAME_UNKNOWN"
    PLACE_UNREACHABLE = "PLACE_UNREACHABLE"
    BROKEN = "BROKEN"
    CALL_ENDED = "CALL_ENDED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """What one container may reach: exactly these places; none is no way out at all.

    Args:
        destinations: Sorted, each once.
    """

    destinations: tuple[Destination, ...] = ()
    protocol: EgressProtocol = EgressProtocol.HTTP

    def __bool__(self) -> bool:
        """Tell whether there is any place to go."""
        return bool(self.destinations)


NO_EGRESS = Egress()


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One connection that a tool made or wanted to make; content, never an event's data.

    Args:
        host: In normal form; empty where the tool named none that has one.
        kind: `http`, `connect` or `tcp`; empty where it did not come to that.
        sent_bytes: From the tool towards the place.
    """

    host: str
    port: int
    kind: str
    verdict: Verdict
    reason: EgressReason | None
    sent_bytes: int
    received_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressReport:
    """What one container did with its way out.

    Args:
        unlisted: Further wishes, all refused, that the list had no room for; at the first one the
            sockets close, so that there are few.
    """

    visits: tuple[Visit, ...] = ()
    unlisted: int = 0

    @property
    def totals(self) -> JsonObject:
        """Count for the receipt, which names no place."""
        connected = sum(visit.verdict is Verdict.CONNECTED for visit in self.visits)
        failed = sum(visit.verdict is Verdict.FAILED for visit in self.visits)
        return {
            "connected": str(connected),
            "refused": str(len(self.visits) - connected - failed + self.unlisted),
            "failed": str(failed),
            "sent_bytes": str(sum(visit.sent_bytes for visit in self.visits)),
            "received_bytes": str(sum(visit.received_bytes for visit in self.visits)),
        }

    def without_refused_hosts(self) -> "EgressReport":
        """Leave out what a tool named and did not reach: it may have named a secret."""
        visits = (
            replace(visit, host="") if visit.verdict is Verdict.REFUSED else visit
            for visit in self.visits
        )
        return replace(self, visits=tuple(visits))

    @property
    def listing(self) -> JsonObject:
        """List in full for the result document."""
        return {"connections": [_listed(visit) for visit in self.visits], "unlisted": self.unlisted}


def event_of(visit: Visit) -> tuple[str, JsonObject]:
    """Give type with data of the event that records a visit; where it went stands in the result."""
    is_connected = visit.verdict is Verdict.CONNECTED
    return "egress.connected" if is_connected else "egress.refused", {
        "kind": visit.kind,
        "verdict": visit.verdict.value,
        "reason": visit.reason.value if visit.reason else "",
        "sent_bytes": str(visit.sent_bytes),
        "received_bytes": str(visit.received_bytes),
    }


def _listed(visit: Visit) -> JsonObject:
    return {
        "host": visit.host,
        "port": visit.port,
        "kind": visit.kind,
        "verdict": visit.verdict.value,
        "reason": visit.reason.value if visit.reason else "",
        "sent_bytes": visit.sent_bytes,
        "received_bytes": visit.received_bytes,
    }
