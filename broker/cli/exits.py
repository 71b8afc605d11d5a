"""State what each exit code means."""

from enum import IntEnum

import grpc

from broker.client import ClientError
from broker.client_errors import UNREACHABLE
from broker.core.lifecycle import CallState
from broker.errors import BrokerError, ConfigurationError, InvalidArgument


class Exit(IntEnum):
    """How the program ends."""

    OK = 0
    TOOL_FAILED = 1
    """The tool ended with another code than 0; for other commands: what was asked for failed."""
    USAGE = 2
    """The command, its arguments or the configuration are wrong; nothing was done."""
    DENIED = 3
    """Policy denied the call, or a human rejected it."""
    HELD = 4
    """The call has not ended: it waits for people."""
    ENDED_OTHERWISE = 5
    """Expired, cancelled, timed out, killed, interrupted, or no sandbox."""
    UNREACHABLE = 6
    """No broker answered, or it cannot serve now: try again."""
    REFUSED = 7
    """The broker refused the request: role, limits, no such thing, wrong state."""
    INTERRUPTED = 130


OF_CALLS = (
    "Exit codes: 0 succeeded; 1 the tool failed; 2 wrong usage, arguments or configuration; "
    "3 denied by policy or rejected by a human; 4 held, not ended yet; 5 expired, cancelled, "
    "timed out, killed, interrupted or no sandbox; 6 no broker answers, or it takes nothing now; "
    "7 refused by the broker."
)
"""For `--help` of the commands whose code tells a call's state."""

OF_OTHERS = (
    "Exit codes: 0 done; 1 failed; 2 wrong usage or configuration; 6 no broker answers, or "
    "it takes nothing now; 7 refused by the broker. TOOLWARRANT_CONFIG, TOOLWARRANT_AS, "
    "TOOLWARRANT_ADDRESS and TOOLWARRANT_OUTPUT stand for --config, --as, --address and -o."
)

_OF_STATE = {
    CallState.SUCCEEDED: Exit.OK,
    CallState.FAILED: Exit.TOOL_FAILED,
    CallState.DENIED: Exit.DENIED,
    CallState.REJECTED: Exit.DENIED,
}


def exit_of_state(state: CallState | None) -> Exit:
    """Say how a command ends whose result is a call in this state."""
    if state is None:
        return Exit.ENDED_OTHERWISE
    if not state.is_final:
        return Exit.HELD
    return _OF_STATE.get(state, Exit.ENDED_OTHERWISE)


def exit_of_error(error: BrokerError) -> Exit:
    """Say how a command ends that this error stopped."""
    if isinstance(error, ConfigurationError | InvalidArgument):
        return Exit.USAGE
    if not isinstance(error, ClientError):
        return Exit.TOOL_FAILED
    if error.reason == UNREACHABLE or error.code in {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }:
        return Exit.UNREACHABLE
    return Exit.USAGE if error.code is grpc.StatusCode.INVALID_ARGUMENT else Exit.REFUSED
