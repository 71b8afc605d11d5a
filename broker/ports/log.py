"""Name what the transparency log needs of the world."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from broker.core.ids import Sha256
from broker.core.merkle import ReadNodes
from broker.core.witness import Cosignature

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


class LogRecord(Protocol):
    """Keep the log's entries, hashes, heads. As `Store`, which it is a part of.

    The entry of index n is the envelope of the receipt of sequence n + 1.
    """

    async def log_head(self, size: int | None = None) -> LogHead | None:
        """Read the head of a size, or the latest; None where none was signed."""

    async def log_entries(self, start: int, limit: int) -> Sequence[bytes]:
        """Read entries from an index on, those too that no head covers yet."""

    async def fold_log(self, work: Callable[[ReadNodes], T]) -> T:
        """Run a pure function that reads nodes which a head covers; each read is one query."""

    async def advance_log(
        self, *, expected: LogHead | None, hashes: Sequence[bytes], to: LogHead
    ) -> None:
        """Append nodes with the head that covers them, by compare-and-set; durable on return.

        Args:
            expected: The latest head, None before the first.
            hashes: Of the nodes that the new entries completed, in the order of completion.

        Raises:
            StaleLog: The latest head is another one; nothing was written.
            ValueError: The nodes are not those of so many entries, or the entries are not there.
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
