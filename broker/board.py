"""Wake those who wait for a call to change."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from broker.core.call import Call
from broker.core.document import Document
from broker.core.ids import CallId
from broker.ports import StoredReceipt

EVERY_CALL = CallId("*")
"""Listen to all calls at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What one commit wrote of a call, the call as it stands after it."""

    call: Call
    documents: tuple[Document, ...]
    receipt: StoredReceipt | None


class Bell(asyncio.Event):
    """Rings when a call changed; `written` is what its last change wrote, None where it is unknown.

    Kept as long as somebody listens, so that they need not ask the store for what was at hand.
    """

    def __init__(self) -> None:
        super().__init__()
        self.written: Written | None = None


class Board:
    """Ring a bell for each change; waiters read the record themselves.

    A bell rings once for many changes: a listener that is slow misses rings, never the state, and
    costs one event however far behind it is. Used from one event loop.
    """

    def __init__(self) -> None:
        self._bells: dict[CallId, set[Bell]] = {}

    def publish(self, call: CallId, written: Written | None = None) -> None:
        """Ring for a call that changed.

        Args:
            written: None where what is known of its last change may not hold any more.
        """
        for bell in self._bells.get(call, ()):
            bell.written = written
            bell.set()
        for bell in self._bells.get(EVERY_CALL, ()):
            bell.set()

    @contextmanager
    def listen(self, call: CallId) -> Iterator[Bell]:
        """Give a bell for one call, or for `EVERY_CALL`.

        Clear it before you read the record, wait for it after: then no change is missed.
        """
        bell = Bell()
        bells = self._bells.setdefault(call, set())
        bells.add(bell)
        try:
            yield bell
        finally:
            bells.discard(bell)
            if not bells:
                self._bells.pop(call, None)
