"""Send a client's requests, those that are safe to repeat more than once."""

from collections.abc import Callable
from typing import TypeVar

import grpc
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
)

from broker.client_errors import ClientError, client_error

ANSWER_S = 30.0
_ATTEMPTS = 5
_FIRST_PAUSE_S = 0.1
# A stream that once gave something is taken up for about a minute: as long as a restart may take.
_TAKE_UP_ATTEMPTS = 33
_LONGEST_PAUSE_S = 2.0
# A broker that asks for a longer pause than people bear is told, not waited for.
_PATIENCE_S = 10.0

_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")


class Attempts:
    """How often a request is sent, with which pauses. Thread-safe.

    Args:
        target: Where the broker is looked for, for messages.
        sleep: Waits between attempts, in seconds.
    """

    def __init__(self, target: str, sleep: Callable[[float], None]) -> None:
        self._target = target
        self._sleep = sleep

    def once(
        self,
        method: "grpc.UnaryUnaryMultiCallable[_Request, _Answer]",
        request: _Request,
        timeout_s: float = ANSWER_S,
    ) -> _Answer:
        """Send a request that changes something, one time.

        Raises:
            ClientError: The broker refused it, or did not answer.
        """
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise client_error(error, self._target) from error

    def repeated(
        self,
        method: "grpc.UnaryUnaryMultiCallable[_Request, _Answer]",
        request: _Request,
        timeout_s: float = ANSWER_S,
    ) -> _Answer:
        """Send a request that may arrive twice, again while the broker is UNAVAILABLE.

        Args:
            timeout_s: Of each attempt.

        Raises:
            ClientError: The broker refused it, or did not answer often enough.
        """
        return self.again(lambda: method(request, timeout=timeout_s))

    def again(self, attempt: Callable[[], _Answer], *, times: int | None = None) -> _Answer:
        """Make an attempt, again while the broker is UNAVAILABLE.

        Args:
            attempt: One whole request, safe to make twice.
            times: How often at the most; None: as often as any.

        Raises:
            ClientError: The broker refused it, or did not answer often enough.
        """

        def once() -> _Answer:
            try:
                return attempt()
            except grpc.RpcError as error:
                raise client_error(error, self._target) from error

        retrying = Retrying(
            retry=retry_if_exception(_is_unavailable),
            stop=stop_after_attempt(times or _ATTEMPTS) | stop_before_delay(_PATIENCE_S),
            wait=_wait_s,
            sleep=self._sleep,
            reraise=True,
        )
        answer: _Answer = retrying(once)
        return answer

    def pause(self, error: grpc.RpcError, failures: int, *, had_begun: bool) -> None:
        """Wait after a stream broke, before it is taken up again.

        Args:
            failures: How often it broke since it last gave something.
            had_begun: Whether it ever gave something; only then is a restart waited for.

        Raises:
            ClientError: Trying again would be of no use, or was tried often enough.
        """
        known = client_error(error, self._target)
        pause_s = max(known.retry_after_s or 0, min(_growing_s(failures), _LONGEST_PAUSE_S))
        attempts = _TAKE_UP_ATTEMPTS if had_begun else _ATTEMPTS
        tired = failures >= attempts or pause_s > _PATIENCE_S
        if tired or not _is_unavailable(known):
            raise known from error
        self._sleep(pause_s)


def _is_unavailable(error: BaseException) -> bool:
    return isinstance(error, ClientError) and error.code is grpc.StatusCode.UNAVAILABLE


def _wait_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return _pause_s(error, state.attempt_number)


def _pause_s(error: BaseException | None, attempt: int) -> float:
    named_s = error.retry_after_s if isinstance(error, ClientError) else None
    return max(named_s or 0, _growing_s(attempt))


def _growing_s(attempt: int) -> float:
    return _FIRST_PAUSE_S * 2.0 ** (attempt - 1)
