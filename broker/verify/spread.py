"""Verify entries by themselves on every core, giving what was found in their order.

Theory of operation. A log is cut into chunks: the tiles of its folder, or as many entries as a tile
has. Whoever verifies a chunk of a folder reads it, too, so nothing of an entry but what was found
goes from process to process. Other processes take some time to begin. This one verifies from the
first moment on, and later whenever the others have enough to do while what comes next is not found
yet; so no core waits for another. However long the log is, a few chunks a process are ahead.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing import get_context
from typing import NamedTuple, Self

from broker.core.checkpoint import Checkpoint
from broker.core.tiles import WIDTH
from broker.core.trust_root import TrustRoot
from broker.errors import ReceiptInvalid
from broker.verify.entry import Judged, judge_entry
from broker.verify.log_folder import TileRun
from broker.verify.verdict import Logged

# How many chunks make a log worth processes.
_WORTH = 8
# Chunks that a process has before it: so that it need not wait for the one that hands them out.
_SENT = 2
# Chunks a process that are found or on their way. It bounds memory.
_AHEAD = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunk:
    """Entries that stand together.

    Args:
        start: Index of the first.
        fault: What kept more from being read behind them.
    """

    start: int
    entries: Sequence[bytes] | TileRun
    fault: "_Fault | None" = None


class _Fault(NamedTuple):
    """A refusal in a form that goes from process to process."""

    step: str
    message: str

    @classmethod
    def of(cls, error: ReceiptInvalid) -> Self:
        """Take a refusal apart."""
        return cls(error.step, str(error).removeprefix(f"{error.step}: "))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What a chunk's entries were found to be, up to where no more could be read."""

    judged: list[Judged]
    fault: _Fault | None


class Judges:
    """Processes that verify entries; `with` ends them.

    Args:
        workers: How many, this process among them.
    """

    def __init__(self, trust_root: TrustRoot, checkpoint: Checkpoint, workers: int) -> None:
        self._trust_root = trust_root
        self._checkpoint = checkpoint
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._begun: list[Future[None]] = []
        self._sent: list[Future[_Found]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def begin(self) -> Sequence["Future[None]"]:
        """Start the other processes; give what is done as they are ready."""
        others = self._workers - 1
        if self._pool is None and others:
            # Spawned: a fork would copy threads' locks, and a reader of logs may have threads.
            self._pool = ProcessPoolExecutor(
                others,
                mp_context=get_context("spawn"),
                initializer=_begin,
                initargs=(self._trust_root, self._checkpoint),
            )
            self._begun = [self._pool.submit(_ready) for _ in range(others)]
        return self._begun

    def judge(self, entries: Iterable[bytes], start: int, end: int) -> Iterator[Judged]:
        """Verify entries from an index on, up to another one.

        Args:
            entries: From the log's first on; those before `start` are passed over.

        Raises:
            ReceiptInvalid: They could not be read on, once all before were given.
        """
        chunks = _chunks(entries, start, end)
        first = [*islice(chunks, _WORTH)]
        is_worth = self._workers > 1 and len(first) == _WORTH
        spread = self._spread if is_worth else self._alone
        return spread(chain(first, chunks))

    def _alone(self, chunks: Iterator[_Chunk]) -> Iterator[Judged]:
        for chunk in chunks:
            yield from _given(self._here(chunk))

    def _spread(self, chunks: Iterator[_Chunk]) -> Iterator[Judged]:
        self.begin()
        ahead: deque[Future[_Found]] = deque()
        chunk = next(chunks, None)
        while ahead or chunk:
            has_room = len(ahead) < _AHEAD * self._workers
            if chunk and has_room and (sent := self._send(chunk)):
                ahead.append(sent)
                chunk = next(chunks, None)
            elif chunk and has_room and not (ahead and ahead[0].done()):
                ahead.append(Future())
                ahead[-1].set_result(self._here(chunk))
                chunk = next(chunks, None)
            else:
                yield from _given(ahead.popleft().result())

    def _send(self, chunk: _Chunk) -> "Future[_Found] | None":
        """Let another process verify a chunk, unless all have enough to do."""
        self._sent = [each for each in self._sent if not each.done()]
        ready = sum(each.done() for each in self._begun)
        if self._pool is None or len(self._sent) >= _SENT * ready:
            return None
        self._sent.append(self._pool.submit(_judge_sent, chunk))
        return self._sent[-1]

    def _here(self, chunk: _Chunk) -> _Found:
        return _judge(self._trust_root, self._checkpoint, chunk)


def _chunks(entries: Iterable[bytes], start: int, end: int) -> Iterator[_Chunk]:
    if isinstance(entries, TileRun):
        for tile in entries.tiles(start, end):
            yield _Chunk(start=tile.start, entries=tile)
        return
    held: list[bytes] = []
    try:
        for entry in islice(entries, start, end):
            held.append(entry)
            if len(held) == WIDTH:
                yield _Chunk(start=start, entries=held)
                start, held = start + WIDTH, []
    except ReceiptInvalid as error:
        yield _Chunk(start=start, entries=held, fault=_Fault.of(error))
        return
    if held:
        yield _Chunk(start=start, entries=held)


def _judge(trust_root: TrustRoot, checkpoint: Checkpoint, chunk: _Chunk) -> _Found:
    judged: list[Judged] = []
    fault = chunk.fault
    try:
        for index, entry in enumerate(chunk.entries, start=chunk.start):
            logged = Logged(index=index, checkpoint=checkpoint, witnesses=())
            judged.append(judge_entry(entry, trust_root, logged))
    except ReceiptInvalid as error:
        fault = _Fault.of(error)
    return _Found(judged=judged, fault=fault)


def _given(found: _Found) -> Iterator[Judged]:
    yield from found.judged
    if found.fault is not None:
        raise ReceiptInvalid(*found.fault)


# --- in a process of the pool -------------------------------------------------------------

_known: tuple[TrustRoot, Checkpoint] | None = None


def _begin(trust_root: TrustRoot, checkpoint: Checkpoint) -> None:
    global _known
    _known = trust_root, checkpoint


def _ready() -> None:
    """Come back once this process verifies."""


def _judge_sent(chunk: _Chunk) -> _Found:
    assert _known is not None, "the pool begins each process by what it is given"
    return _judge(*_known, chunk)
