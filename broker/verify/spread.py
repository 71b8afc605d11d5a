"""Verify entries by themselves on every core, giving what was found in their order."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from multiprocessing import get_context
from typing import Self

from broker.core.checkpoint import Checkpoint
from broker.core.trust_root import TrustRoot
from broker.errors import ReceiptInvalid
from broker.verify.entry import Judged, judge_entry
from broker.verify.verdict import Logged

_CHUNK = 256
# How many chunks make a log worth processes, which take a second to begin.
_WORTH = 8
# So that no process waits for the one that reads, and little is in memory.
_AHEAD = 3


class Judges:
    """Processes that verify entries; `with` ends them.

    Args:
        workers: How many; 1 verifies in this process.
    """

    def __init__(self, trust_root: TrustRoot, checkpoint: Checkpoint, workers: int) -> None:
        self._trust_root = trust_root
        self._checkpoint = checkpoint
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def judge(self, entries: Iterable[bytes], start: int) -> Iterator[Judged]:
        """Verify entries from an index on.

        Raises:
            ReceiptInvalid: They could not be read on, once all before were given.
        """
        chunks = _chunks(entries)
        ahead = [*islice(chunks, _WORTH)]
        spread = self._here if self._workers == 1 or len(ahead) < _WORTH else self._spread
        return spread(chain(ahead, chunks), start)

    def _here(self, chunks: "Iterator[_Chunk]", start: int) -> Iterator[Judged]:
        for chunk in chunks:
            for index, entry in enumerate(chunk.entries, start=start):
                yield _judge(self._trust_root, self._checkpoint, index, entry)
            start += len(chunk.entries)
            if chunk.fault:
                raise chunk.fault

    def _spread(self, chunks: "Iterator[_Chunk]", start: int) -> Iterator[Judged]:
        # Spawned: a fork would copy threads' locks, and a reader of logs may have threads.
        pool = self._pool = ProcessPoolExecutor(
            self._workers,
            mp_context=get_context("spawn"),
            initializer=_begin,
            initargs=(self._trust_root, self._checkpoint),
        )
        waiting: deque[tuple[Future[list[Judged]], ReceiptInvalid | None]] = deque()
        for chunk in chunks:
            waiting.append((pool.submit(_judge_chunk, start, chunk.entries), chunk.fault))
            start += len(chunk.entries)
            if len(waiting) == _AHEAD * self._workers:
                yield from _next(waiting)
        while waiting:
            yield from _next(waiting)


def _next(waiting: "deque[tuple[Future[list[Judged]], ReceiptInvalid | None]]") -> Iterator[Judged]:
    future, fault = waiting.popleft()
    yield from future.result()
    if fault:
        raise fault


class _Chunk:
    """Entries that were read, with what kept more from being read."""

    def __init__(self, entries: list[bytes], fault: ReceiptInvalid | None) -> None:
        self.entries = entries
        self.fault = fault


def _chunks(entries: Iterable[bytes]) -> Iterator[_Chunk]:
    held: list[bytes] = []
    try:
        for entry in entries:
            held.append(entry)
            if len(held) == _CHUNK:
                yield _Chunk(held, None)
                held = []
    except ReceiptInvalid as error:
        yield _Chunk(held, error)
        return
    if held:
        yield _Chunk(held, None)


def _judge(trust_root: TrustRoot, checkpoint: Checkpoint, index: int, entry: bytes) -> Judged:
    return judge_entry(entry, trust_root, Logged(index=index, checkpoint=checkpoint, witnesses=()))


# --- in a process of the pool -------------------------------------------------------------

_given: tuple[TrustRoot, Checkpoint] | None = None


def _begin(trust_root: TrustRoot, checkpoint: Checkpoint) -> None:
    global _given
    _given = trust_root, checkpoint


def _judge_chunk(start: int, entries: list[bytes]) -> list[Judged]:
    assert _given is not None, "the pool begins each process by what it is given"
    return [_judge(*_given, index, entry) for index, entry in enumerate(entries, start=start)]
