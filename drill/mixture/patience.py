"""Ask a broker until it answers, however often it is away."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import grpc

from broker.client import Client, ClientError
from tests.broker_process import Served

_PATIENCE_S = 120.0
_PAUSE_S = 0.1
_LOST = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)
_DECIDED = ("ALREADY_VOTED", "CALL_NOT_HELD", "CALL_ENDED", "HOLD_EXPIRED")

Answer = TypeVar("Answer")


class Patience:
    """One identity's client, for one thread; it outlives the broker, which keeps its address."""

    def __init__(self, served: Served, identity: str) -> None:
        self._client = Client.from_config(served.folder.config, identity, address=served.target)

    def ask(self, question: Callable[[Client], Answer]) -> Answer:
        """Put a question that is safe to repeat, as one with a request_id is, until it is answered.

        Raises:
            ClientError: The broker refused it, or was away for minutes.
        """
        until_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return question(self._client)
            except ClientError as error:
                # What a halt covers cannot be approved until it is lifted.
                passes = error.code in _LOST or error.reason == "HALTED"
                if not passes or time.monotonic() > until_s:
                    raise
            time.sleep(_PAUSE_S)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


@contextmanager
def decided_before() -> Iterator[None]:
    """Take a vote, or a cancellation, for done that counted although its answer was lost."""
    try:
        yield
    except ClientError as error:
        if error.reason not in _DECIDED:
            raise
