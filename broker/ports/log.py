"""Name what the transparency log needs of the world."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from broker.core.call import Call
from broker.core.ids import Sha256
from broker.core.log_leaf import LeafKind
from broker.core.merkle import ReadNodes
from broker.core.witness import Cosignature
from broker.ports.record import Event

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogHead:
    """A signed head of the log.

    Args:
        checkpoint: The signed note, byte for byte.
    """

    size: int
    at: datetime
    checkpoint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRange:
    """What a batch covers.

    Args:
        events: All of them, from the first to the last, at least one.
        salt: 16 random bytes, drawn for this batch alone.
        entries: How many entries of their own stand between the batch before and this one.
    """

    events: Sequence[Event]
    salt: bytes
    entries: Mapping[LeafKind, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """What an entry is made from, which has its place but need not be covered by a head.

    Args:
        index: Of the log, from 0.
        receipt: The exact envelope, where it is one.
        event: What it is about, where it is neither receipt nor batch.
        call: The event's, where it is an intent.
        batch: Where it is one.
    """

    index: int
    kind: LeafKind
    receipt: bytes | None = None
    event: Event | None = None
    call: Call | None = None
    batch: EventRange | None = None


class LogRecord(Protocol):
    """Keep the log's entries, hashes, heads. As `Store`, which it is a part of.

    An event of a kind that has an entry of its own (`kind_of`) is given it in the transaction that
    writes the event, at the next index: a receipt for an end, else a leaf.
    """

    async def log_head(self, size: int | None = None) -> LogHead | None:
        """Read the head of a size, or the latest; None where none was signed."""

    async def log_entries(self, start: int, limit: int) -> Sequence[bytes]:
        """Read entries from an index on, up to the first whose bytes are still to be made.

        Receipts have theirs at once, all others with the head that covers them.
        """

    async def log_sources(self, start: int, limit: int) -> Sequence[LogEntry]:
        """Read what entries are made from, from an index on, whether a head covers them or not.

        Fewer than there are, with a batch as the last, where these batches cover many events.
        """

    async def log_index(self, receipt: int) -> int:
        """Give the index of the receipt of a sequence, which is there."""

    async def close_batch(self, salt: bytes) -> bool:
        """Append an entry that covers all events which no batch covers; durable on return.

        Args:
            salt: 16 random bytes.

        Returns:
            Whether there were any.
        """

    async def fold_log(self, work: Callable[[ReadNodes], T]) -> T:
        """Run a pure function that reads nodes which a head covers; each read is one query."""

    async def advance_log(
        self,
        *,
        expected: LogHead | None,
        hashes: Sequence[bytes],
        to: LogHead,
        leaves: Mapping[int, bytes],
    ) -> None:
        """Append nodes with the head that covers them, by compare-and-set; durable on return.

        Args:
            expected: The latest head, None before the first.
            leaves: Index with the exact bytes of each new entry that is no receipt.
            hashes: Of the nodes that the new entries completed, in the order of completion.

        Raises:
            StaleLog: The latest head is another one; nothing was written.
            ValueError: The nodes are not those of so many entries, the entries are not there, or
                the leaves are not those of the new entries that are no receipts.
        """

    async def add_cosignature(self, size: int, cosignature: Cosignature) -> None:
        """Keep a witness's cosignature of the head of a size; durable on return.

        Where that key's is there already, the earlier one stays.

        Raises:
            ValueError: There is no head of this size.
        """

    async def cosignatures(self, size: int) -> Sequence[Cosignature]:
        """Read the cosignatures of the head of a size, by key id."""

    async def cosigned_size(self, witness: Sha256) -> int:
        """Give the largest size that a key cosigned; 0 where it cosigned none."""

    async def witnessed_head(self, witnesses: Sequence[Sha256], quorum: int) -> LogHead | None:
        """Read the latest head that at least so many of these keys cosigned, if there is one."""


class LogFiles(Protocol):
    """Show the log to readers as files (C2SP tlog-tiles). Safe from one event loop.

    All of it follows from the record; nobody retries inside.
    """

    async def is_there(self) -> bool:
        """Tell whether the place for the files is there.

        Raises:
            OSError: It cannot be read.
        """

    async def make(self) -> None:
        """Make the place, durable on return; one that is there is fine.

        Raises:
            OSError: It cannot be made.
        """

    async def checkpoint(self) -> bytes | None:
        """Read the checkpoint that readers see; None where there is none.

        Raises:
            OSError: It cannot be read.
        """

    async def put(self, path: str, data: bytes) -> None:
        """Show one file whole or not at all; durable on return.

        Args:
            path: Below the log's prefix, `/` between its parts.

        Raises:
            OSError: It cannot be written; readers see what they saw before.
        """

    async def drop(self, path: str) -> None:
        """Remove a folder of partial tiles whose full tile is there; none is fine."""
