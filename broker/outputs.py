"""Keep the output of running calls, for those who read along."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from broker.board import Board
from broker.core.ids import CallId
from broker.core.output import Chunk, OutputBuffer, OutputSink, Place, Source


class Outputs:
    """One buffer for each call that runs, whoever reads it; it is gone when the call has ended.

    A reader has its place and a bell, nothing of the bytes: one that does not read costs no more.
    Used from one event loop.

    Args:
        board: Rings when a call's output is whole, as for any change of the call.
    """

    def __init__(self, board: Board) -> None:
        self._calls = board
        self._written = Board()
        self._buffers: dict[CallId, OutputBuffer] = {}

    @contextmanager
    def of_run(self, call: CallId, cap_bytes: int) -> Iterator[OutputSink]:
        """Give the sink of a run; what it took can be read until the record says how it ended.

        Args:
            cap_bytes: How much of each stream is kept.
        """
        buffer = self._buffers[call] = OutputBuffer(cap_bytes)

        def changed() -> None:
            (self._calls if buffer.is_ended else self._written).publish(call)

        try:
            yield _Ringing(buffer, changed)
        finally:
            del self._buffers[call]

    def next_chunk(self, call: CallId, place: Place, most_bytes: int) -> Chunk | None:
        """Give what comes next in a running call; None where nothing does, yet or ever."""
        buffer = self._buffers.get(call)
        return buffer.next_chunk(place, most_bytes) if buffer else None

    def is_all(self, call: CallId, place: Place) -> bool:
        """Tell whether a place is behind the last byte of a tool that is dead."""
        buffer = self._buffers.get(call)
        return buffer is not None and buffer.is_ended and buffer.next_chunk(place, 4) is None

    def is_growing(self, call: CallId) -> bool:
        """Tell whether the tool may still write."""
        buffer = self._buffers.get(call)
        return buffer is not None and not buffer.is_ended

    def listen(self, call: CallId) -> AbstractContextManager[asyncio.Event]:
        """Give a bell that rings while output comes; used as `Board.listen`."""
        return self._written.listen(call)


class _Ringing:
    """A sink that tells of what its buffer took."""

    def __init__(self, buffer: OutputBuffer, changed: Callable[[], None]) -> None:
        self._buffer = buffer
        self._changed = changed

    def take(self, source: Source, data: bytes) -> None:
        self._buffer.take(source, data)
        self._changed()

    def end(self) -> None:
        self._buffer.end()
        self._changed()

    def kept(self, source: Source) -> bytes:
        return self._buffer.kept(source)
