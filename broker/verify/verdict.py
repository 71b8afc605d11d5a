"""Say what a verification came to."""

from dataclasses import dataclass
from enum import Enum

from broker.core.canonical import JsonObject
from broker.core.checkpoint import Checkpoint
from broker.core.ids import Sha256
from broker.errors import BrokerError


class Validity(Enum):
    """What a verification came to; the value is the exit code."""

    VALID = 0
    INVALID = 1
    INDETERMINATE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """Where a receipt was shown to be in a log.

    Args:
        index: Of the entry, from 0.
        witnesses: Key ids of those whose cosignatures were good, whether asked for or not.
    """

    index: int
    checkpoint: Checkpoint
    witnesses: tuple[Sha256, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a verification found.

    `step` is the one that failed, None where all passed. `predicate` is empty where the receipt is
    invalid: nobody vouches for what it says. `notes` say what was not shown. `logged` is None where
    the receipt is invalid, or was not shown to be in a log.
    """

    validity: Validity
    step: str | None
    message: str
    predicate: JsonObject
    notes: tuple[str, ...]
    logged: Logged | None = None


class Indeterminate(BrokerError):
    """What is verified may be genuine, but not by what the reader has.

    Args:
        step: Of the verification.
    """

    def __init__(self, step: str, message: str) -> None:
        super().__init__(message)
        self.step = step
