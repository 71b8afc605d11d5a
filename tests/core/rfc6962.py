"""Hash and prove as RFC 6962 §2.1 words it, by recursion over all entries: slow, and not ours."""

import hashlib
from collections.abc import Sequence

from broker.core.merkle import Frontier, Node, ReadNodes, leaf_hash, stored_place


def split(count: int) -> int:
    """Give the largest power of two below a count."""
    k = 1
    while k * 2 < count:
        k *= 2
    return k


def mth(entries: Sequence[bytes]) -> bytes:
    """Give the Merkle Tree Hash."""
    if not entries:
        return hashlib.sha256().digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = split(len(entries))
    return hashlib.sha256(b"\x01" + mth(entries[:k]) + mth(entries[k:])).digest()


def path(m: int, entries: Sequence[bytes]) -> tuple[bytes, ...]:
    """Give the Merkle audit path of entry m."""
    if len(entries) == 1:
        return ()
    k = split(len(entries))
    if m < k:
        return (*path(m, entries[:k]), mth(entries[k:]))
    return (*path(m - k, entries[k:]), mth(entries[:k]))


def proof(m: int, entries: Sequence[bytes], *, whole: bool = True) -> tuple[bytes, ...]:
    """Give the Merkle consistency proof of the first m entries."""
    if m == len(entries):
        return () if whole else (mth(entries),)
    k = split(len(entries))
    if m <= k:
        return (*proof(m, entries[:k], whole=whole), mth(entries[k:]))
    return (*proof(m - k, entries[k:], whole=False), mth(entries[:k]))


def entries_of(size: int) -> list[bytes]:
    """Make so many entries, all different."""
    return [b"entry %d" % index for index in range(size)]


def reader(entries: Sequence[bytes]) -> ReadNodes:
    """Store what a log of these entries stores; give what reads it."""
    _, stored = Frontier.empty().extended(map(leaf_hash, entries))

    def read(nodes: Sequence[Node]) -> list[bytes]:
        return [stored[stored_place(node)] for node in nodes]

    return read
