"""Hash a log's entries into one tree head (RFC 6962).

A node is a complete subtree: that of level k with number n covers the entries from n * 2**k up to
(n + 1) * 2**k. Nodes never change once they are complete, so a store keeps each of them once, in
the order of their completion, and every head and proof is folded from a few of them.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple, Self

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The head of a log without entries."""


class Node(NamedTuple):
    """A complete subtree by its place."""

    level: int
    number: int


ReadNodes = Callable[[Sequence[Node]], Sequence[bytes]]
"""Gives the hashes of complete subtrees, in the order asked for."""


def leaf_hash(entry: bytes) -> bytes:
    """Hash an entry."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees that stand side by side."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def stored_place(node: Node) -> int:
    """Give a node's place, from 0, among all nodes in the order of their completion.

    Before a leaf is added that completes the node, as many nodes stand there as all leaves before
    it completed: 2m - popcount(m) for m leaves. The node's children come first.
    """
    last = ((node.number + 1) << node.level) - 1
    return stored_count(last) + node.level


def stored_count(size: int) -> int:
    """Count the nodes of a tree."""
    return 2 * size - size.bit_count()


def nodes_of(start: int, end: int) -> list[Node]:
    """Split a range of entries into nodes, left to right.

    Args:
        start: Where a subtree of RFC 6962 begins that reaches at least up to `end`: 0, or what is
            divisible by the largest power of two up to `end - start`.
    """
    nodes = []
    while start < end:
        level = (end - start).bit_length() - 1
        nodes.append(Node(level, start >> level))
        start += 1 << level
    return nodes


def fold(hashes: Sequence[bytes]) -> bytes:
    """Hash the nodes of a range, left to right, into the range's one hash."""
    if not hashes:
        return EMPTY_ROOT
    return reduce(lambda right, left: node_hash(left, right), reversed(hashes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """A log's right edge: all that the next entries' nodes and head are made from.

    Args:
        size: How many entries there are.
        hashes: Of the nodes that the whole tree splits into, left to right.
    """

    size: int
    hashes: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.hashes) != self.size.bit_count():
            raise ValueError("a frontier has one hash for each bit of its size")

    @classmethod
    def empty(cls) -> Self:
        """Give the frontier of a log without entries."""
        return cls(size=0, hashes=())

    @classmethod
    def read(cls, size: int, read: ReadNodes) -> Self:
        """Read the frontier of a stored tree."""
        return cls(size=size, hashes=tuple(read(nodes_of(0, size))))

    @property
    def root(self) -> bytes:
        """Give the tree's head."""
        return fold(self.hashes)

    def extended(self, leaves: Iterable[bytes]) -> tuple["Frontier", list[bytes]]:
        """Add leaves; give the frontier after them with the nodes that they complete, in order.

        Args:
            leaves: Leaf hashes.
        """
        size, hashes, completed = self.size, list(self.hashes), []
        for leaf in leaves:
            completed.append(leaf)
            node = leaf
            # Each trailing 1 of the size is a subtree that waits for one of its own height.
            carry = size
            while carry & 1:
                node = node_hash(hashes.pop(), node)
                completed.append(node)
                carry >>= 1
            hashes.append(node)
            size += 1
        return Frontier(size=size, hashes=tuple(hashes)), completed
