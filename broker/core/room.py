"""Say what of a run's files its agent may still keep."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Self

from broker.core.ids import Sha256
from broker.core.workspace import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The bytes that an agent may keep besides, each content counted once.

    Args:
        left_bytes: Below 0 where it keeps more than it may by now.
        known: Content that is kept already, or counted already, and takes no room.
    """

    left_bytes: int
    known: AbstractSet[Sha256] = frozenset()

    def take(self, entries: Iterable[Entry]) -> Self | None:
        """Give the room that is left with these files; None where they do not fit."""
        new = {entry.sha256: entry.size_bytes for entry in entries}
        wanted = {sha256: size for sha256, size in new.items() if sha256 not in self.known}
        size_bytes = sum(wanted.values())
        if wanted and size_bytes > self.left_bytes:
            return None
        return type(self)(
            left_bytes=self.left_bytes - size_bytes, known={*self.known, *wanted.keys()}
        )
