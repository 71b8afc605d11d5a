"""Remember which calls were seen, in some thirty bytes each."""

import base64
from collections.abc import Iterator
from typing import Self

from broker.core.ids import CROCKFORD

_KEY_BYTES = 16
_FIRST_SLOTS = 64
_PREFIX = "calls/"
# Python reads base 32 as 0-9, A-V; Crockford's has the same order in other letters.
_DIGITS = str.maketrans(CROCKFORD, "0123456789ABCDEFGHIJKLMNOPQRSTUV")


class CallSet:
    """Names of calls: a hash table over the 128 bits of each, in two byte arrays.

    A `set` of a million names takes a hundred megabytes, and an audit must not grow with its log
    more than it has to.
    """

    def __init__(self) -> None:
        self._count = 0
        self._keys = bytearray(_KEY_BYTES * _FIRST_SLOTS)
        self._used = bytearray(_FIRST_SLOTS)

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what `write` wrote.

        Raises:
            ValueError: Another text.
        """
        keys = base64.b64decode(text, validate=True)
        found = cls()
        for start in range(0, len(keys), _KEY_BYTES):
            key = keys[start : start + _KEY_BYTES]
            if len(key) < _KEY_BYTES or not found._put(key):
                raise ValueError("not calls, each once")
        return found

    def write(self) -> str:
        """Write the set; equal sets have equal texts."""
        return base64.b64encode(b"".join(sorted(self._each()))).decode()

    def __len__(self) -> int:
        return self._count

    def __contains__(self, call: str) -> bool:
        return bool(self._used[self._slot(_key(call))])

    def add(self, call: str) -> bool:
        """Add a call by its name; tell whether it is new."""
        return self._put(_key(call))

    def _put(self, key: bytes) -> bool:
        slot = self._slot(key)
        if self._used[slot]:
            return False
        self._fill(slot, key)
        self._count += 1
        # Two thirds full: a look then finds its place in two or three steps.
        if 3 * self._count > 2 * len(self._used):
            self._grow()
        return True

    def _slot(self, key: bytes) -> int:
        """Find where a key stands, or would."""
        slots = len(self._used)
        # Python's own hash is seeded anew in each process: who chose the names, as a broker that
        # lies does, cannot let them all meet in one place.
        slot = hash(key) % slots
        while self._used[slot] and self._keys[_KEY_BYTES * slot : _KEY_BYTES * (slot + 1)] != key:
            slot = (slot + 1) % slots
        return slot

    def _fill(self, slot: int, key: bytes) -> None:
        self._keys[_KEY_BYTES * slot : _KEY_BYTES * (slot + 1)] = key
        self._used[slot] = 1

    def _grow(self) -> None:
        keys, slots = self._each(), 2 * len(self._used)
        self._keys, self._used = bytearray(_KEY_BYTES * slots), bytearray(slots)
        for key in keys:
            self._fill(self._slot(key), key)

    def _each(self) -> Iterator[bytes]:
        keys, used = self._keys, self._used
        return (
            bytes(keys[_KEY_BYTES * slot : _KEY_BYTES * (slot + 1)])
            for slot, is_used in enumerate(used)
            if is_used
        )


def _key(call: str) -> bytes:
    """Give the 128 bits of a call's name, whose form a schema checked."""
    return int(call.removeprefix(_PREFIX).translate(_DIGITS), 32).to_bytes(_KEY_BYTES)
