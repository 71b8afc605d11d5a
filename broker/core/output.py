"""Keep what a tool wrote, for its result as for those who read while it runs.

Theory of operation. Each stream of a call is one growing run of bytes, up to the call's cap. A
reader's place is how many bytes of each stream it has: two numbers, from which it goes on wherever
it was cut off, in this buffer or in one made of the result. Beside the bytes stands in which order
the streams grew, as marks: a mark says how long both were at a moment. Between two marks standard
output comes first. There are at most `_MOST_MARKS`: a tool that changes between its streams more
often than that loses every second mark, so that the order gets coarser, the bytes stay as they are.
"""

import codecs
from bisect import bisect_right
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

_MOST_MARKS = 1024


class Source(Enum):
    """Which stream of the tool."""

    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of one stream; `offset` counts the bytes of that stream before it."""

    source: Source
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How many bytes of each stream a reader has."""

    stdout: int = 0
    stderr: int = 0

    def after(self, chunk: Chunk) -> "Place":
        """Give the place behind a piece."""
        end = chunk.offset + len(chunk.data)
        if chunk.source is Source.STDOUT:
            return replace(self, stdout=end)
        return replace(self, stderr=end)


class OutputSink(Protocol):
    """Where a tool's output goes, before anything of it is stored or shown.

    The one way from the sandbox to result and readers: whatever has to be done to the bytes is done
    in front of the buffer. Used from one event loop, by one writer; never waits.
    """

    def take(self, source: Source, data: bytes) -> None:
        """Take what came next on a stream; together at most the job's cap of each."""

    def end(self) -> None:
        """Note that the tool is dead: nothing more comes, what was held back goes on."""

    def kept(self, source: Source) -> bytes:
        """Give what stands in the result for a stream; asked after the end."""


class OutputBuffer:
    """What a tool wrote so far, an `OutputSink`. Never more than twice the cap, and a constant.

    Args:
        cap_bytes: How much of each stream is kept; the rest is dropped.
    """

    def __init__(self, cap_bytes: int) -> None:
        self._cap_bytes = cap_bytes
        self._data = {Source.STDOUT: bytearray(), Source.STDERR: bytearray()}
        self._marks: list[tuple[int, int]] = []
        self._last: Source | None = None
        self._is_ended = False

    @property
    def is_ended(self) -> bool:
        """Tell whether this is all that the tool wrote."""
        return self._is_ended

    def take(self, source: Source, data: bytes) -> None:
        """Keep what came next on a stream, as far as the cap goes."""
        kept = self._data[source]
        data = data[: self._cap_bytes - len(kept)]
        if not data or self._is_ended:
            return
        kept += data
        mark = len(self._data[Source.STDOUT]), len(self._data[Source.STDERR])
        if source is self._last:
            self._marks[-1] = mark
            return
        self._last = source
        self._marks.append(mark)
        if len(self._marks) > _MOST_MARKS:
            # From the end, so that the last mark stays: it says how much there is.
            self._marks = self._marks[::-2][::-1]

    def end(self) -> None:
        """Say that nothing more comes."""
        self._is_ended = True

    def kept(self, source: Source) -> bytes:
        """Give all that was kept of a stream."""
        return bytes(self._data[source])

    def next_chunk(self, place: Place, most_bytes: int) -> Chunk | None:
        """Give what comes next behind a place; None where nothing does, yet or ever.

        A piece that is UTF-8 ends with a whole character: the beginning of one waits for its rest.
        Where that does not come, or the piece is no UTF-8, it is given as it is.

        Args:
            most_bytes: Size of the largest piece, at least 4.
        """
        for source, start, end in self._next_runs(place):
            data = bytes(memoryview(self._data[source])[start : min(end, start + most_bytes)])
            at_end = self._is_ended and start + len(data) == len(self._data[source])
            whole = data if at_end else data[: _whole_characters(data)]
            if whole:
                return Chunk(source=source, offset=start, data=whole)
        return None

    def _next_runs(self, place: Place) -> list[tuple[Source, int, int]]:
        """List what may come next as (stream, from, to): the run that came first, the other stream.

        The other one is for where the first waits for the rest of a character.
        """
        marks, ends = self._marks, self._marks[-1] if self._marks else (0, 0)
        out = bisect_right(marks, place.stdout, key=lambda mark: mark[0])
        err = bisect_right(marks, place.stderr, key=lambda mark: mark[1])
        stdout = (Source.STDOUT, place.stdout, ends[0])
        stderr = (Source.STDERR, place.stderr, ends[1])
        if out <= err < len(marks):
            return [(Source.STDOUT, place.stdout, marks[err][0]), stderr]
        if err < out < len(marks):
            return [(Source.STDERR, place.stderr, marks[out - 1][1]), stdout]
        return [stdout, stderr]


def _whole_characters(data: bytes) -> int:
    """Count the bytes without the beginning of a character at their end."""
    try:
        return codecs.utf_8_decode(data, "strict", False)[1]
    except UnicodeDecodeError:
        return len(data)
