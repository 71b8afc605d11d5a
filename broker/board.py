"""Wake those who wait for a call to change."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from broker.core.ids import CallId

EVERY_CALL = CallId("*")
"""Listen to all calls at once."""


class Board:
    """Ring a bell for each change; waiters read the record themselves.

    A bell says that something changed, not what: a listener that is slow misses rings, never the
    state, and costs one event however far behind it is. Used from one event loop.
    """

    def __init__(self) -> None:
        self._bells: dict[CallId, set[asyncio.Event]] = {}

    def publish(self, call: CallId) -> None:
        """Ring for a call that changed."""
        for key in (call, EVERY_CALL):
            for bell in self._bells.get(key, ()):
                bell.set()

    @contextmanager
    def listen(self, call: CallId) -> Iterator[asyncio.Event]:
        """Give a bell for one call, or for `EVERY_CALL`.

        Clear it before you read the record, wait for it after: then no change is missed.
        """
        bell = asyncio.Event()
        bells = self._bells.setdefault(call, set())
        bells.add(bell)
        try:
            yield bell
        finally:
            bells.discard(bell)
            if not bells:
                self._bells.pop(call, None)
