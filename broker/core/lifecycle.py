"""State the life of a call as one table.

Theory of operation. A call is recorded once and decided at once, so `RECEIVED` is never at rest
in the store: the commit that records a call also carries its first decision, and its start where
that waits for nothing. From then on every change is one `Step` of `TABLE`, written by
compare-and-set on the call's version together with its event. `START` is the point of no return: it
is durable before the container gets its first byte, so that a call found `RUNNING` after a crash
has an unknown outcome and is never run again, while a call found in any earlier state certainly
never began and goes on by the same path. A final state has no way out, and is written in one
transaction with its receipt.
"""

from enum import Enum


class CallState(Enum):
    """Where a call is in its life (contract §2)."""

    RECEIVED = "RECEIVED"
    HELD = "HELD"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    DENIED = "DENIED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"
    KILLED = "KILLED"
    INTERRUPTED = "INTERRUPTED"
    SANDBOX_ERROR = "SANDBOX_ERROR"

    @property
    def is_final(self) -> bool:
        """Tell whether the call has ended."""
        return self not in OPEN_STATES


OPEN_STATES = frozenset({CallState.RECEIVED, CallState.HELD, CallState.QUEUED, CallState.RUNNING})


class Step(Enum):
    """What can happen to a call; the value is the type of the event that records it."""

    RECEIVE = "call.received"
    ALLOW = "call.allowed"
    HOLD = "call.held"
    VOTE = "hold.voted"
    APPROVE = "hold.approved"
    START = "run.starting"
    SUCCEED = "call.succeeded"
    FAIL = "call.failed"
    DENY = "call.denied"
    REJECT = "call.rejected"
    EXPIRE = "call.expired"
    CANCEL = "call.cancelled"
    TIME_OUT = "call.timed_out"
    KILL = "call.killed"
    INTERRUPT = "call.interrupted"
    FAIL_TO_BEGIN = "call.sandbox_error"


_S = CallState

TABLE: dict[tuple[CallState | None, Step], CallState] = {
    (None, Step.RECEIVE): _S.RECEIVED,
    (_S.RECEIVED, Step.ALLOW): _S.QUEUED,
    (_S.RECEIVED, Step.HOLD): _S.HELD,
    (_S.RECEIVED, Step.DENY): _S.DENIED,
    (_S.HELD, Step.VOTE): _S.HELD,
    (_S.HELD, Step.APPROVE): _S.QUEUED,
    (_S.HELD, Step.REJECT): _S.REJECTED,
    (_S.HELD, Step.DENY): _S.DENIED,
    (_S.HELD, Step.EXPIRE): _S.EXPIRED,
    (_S.HELD, Step.CANCEL): _S.CANCELLED,
    # Of a store that was put back: whether it ran since the backup, nobody here knows.
    (_S.HELD, Step.INTERRUPT): _S.INTERRUPTED,
    (_S.QUEUED, Step.INTERRUPT): _S.INTERRUPTED,
    (_S.QUEUED, Step.START): _S.RUNNING,
    # A release that policy now judges more strictly opens a new hold (contract §5).
    (_S.QUEUED, Step.HOLD): _S.HELD,
    (_S.QUEUED, Step.DENY): _S.DENIED,
    (_S.QUEUED, Step.EXPIRE): _S.EXPIRED,
    (_S.QUEUED, Step.CANCEL): _S.CANCELLED,
    (_S.QUEUED, Step.FAIL_TO_BEGIN): _S.SANDBOX_ERROR,
    (_S.RUNNING, Step.SUCCEED): _S.SUCCEEDED,
    (_S.RUNNING, Step.FAIL): _S.FAILED,
    (_S.RUNNING, Step.CANCEL): _S.CANCELLED,
    (_S.RUNNING, Step.TIME_OUT): _S.TIMED_OUT,
    (_S.RUNNING, Step.KILL): _S.KILLED,
    (_S.RUNNING, Step.INTERRUPT): _S.INTERRUPTED,
    (_S.RUNNING, Step.FAIL_TO_BEGIN): _S.SANDBOX_ERROR,
}
LAST_STEPS = frozenset(step for (_, step), state in TABLE.items() if state.is_final)
"""Steps that end a call, whatever state they are taken from."""


class WrongState(ValueError):
    """The step cannot be taken from this state."""


def after(state: CallState | None, step: Step) -> CallState:
    """Look up the state that a step leads to.

    Raises:
        WrongState: The table has no such step; the caller read an old call, or has a bug.
    """
    try:
        return TABLE[state, step]
    except KeyError:
        raise WrongState(f"{step.name} from {state.name if state else 'nothing'}") from None
